"""Inception-style score: golden values, closed forms, a brute-force reference, bad input."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax.metrics import MetricError, inception_score
from tests.metrics import golden


def test_golden():
    assert_allclose(inception_score(golden.LOGITS, 10), (2.1225407991, 0.0434801707), rtol=1e-8)
    assert_allclose(inception_score(golden.LOGITS, 1), (2.1287010207, 0.0), rtol=1e-9, atol=1e-12)


def test_bounds():
    sure = 1000.0 * np.eye(10)[np.arange(50) % 10]  # sure and even over ten classes; the softmax underflows to 0
    assert_allclose(inception_score(sure, 5).mean, 10.0, rtol=1e-12)
    assert_allclose(inception_score(np.zeros((50, 10)), 5).mean, 1.0, rtol=1e-12)
    assert_allclose(inception_score(np.tile(sure[:1], (50, 1)), 5).mean, 1.0, rtol=1e-12)


def test_against_brute_force_with_uneven_splits():
    logits = golden.LOGITS[:23]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    parts = [p[:5], p[5:11], p[11:17], p[17:]]  # from i * 23 // 4
    scores = [
        np.exp(np.mean([sum(r * np.log(r / q) for r, q in zip(row, part.mean(0))) for row in part])) for part in parts
    ]
    assert_allclose(inception_score(logits, 4), (np.mean(scores), np.std(scores)), rtol=1e-10)


def test_a_shift_of_all_logits_changes_nothing():
    assert_allclose(inception_score(golden.LOGITS + 800.0), inception_score(golden.LOGITS), rtol=1e-9)


@pytest.mark.parametrize(("n", "splits", "expected"), [(10, 4, 1.5557), (1005, 10, 3.76238)])
def test_splits_that_do_not_divide_are_cut_as_published_code_cuts(n, splits, expected):
    """Scores that torch-fidelity gives for these logits."""
    rng = np.random.default_rng({10: 3, 1005: 0}[n])
    rng.standard_normal({10: 2 * 60 * 8 + 2 * 20 * 64, 1005: 10 * (10 + 95)}[n])
    logits = (3 * rng.standard_normal((n, {10: 5, 1005: 10}[n]))).astype(np.float32)
    assert_allclose(inception_score(logits, splits).mean, expected, rtol=2e-5)


def test_bad_input():
    for splits in (0, 301):
        with pytest.raises(MetricError, match=f"splits is {splits} for 300 samples; use 1 to 300"):
            inception_score(golden.LOGITS, splits)
    broken = golden.LOGITS.copy()
    broken[12, 3] = np.inf
    with pytest.raises(MetricError, match="row 12 of logits"):
        inception_score(broken)
