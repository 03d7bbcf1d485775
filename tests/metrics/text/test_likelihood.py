"""NLLs per token and per sequence: by hand, and those of SeqGAN's oracle."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax.metrics import MetricError
from gan_jax.metrics.text import likelihood
from tests.golden import golden

NLL = [[1.0, 2.0, 3.0], [5.0, math.nan, math.nan]]
MASK = [[1, 1, 1], [1, 0, 0]]


def test_the_three_means_by_hand():
    """Sums 6 and 5, means 2 and 5, 4 tokens."""
    for found in (
        likelihood(NLL, MASK),
        likelihood([[1.0, 2.0, 3.0], [5.0]]),
        likelihood([*NLL, NLL[0]], [*MASK, [0, 0, 0]]),
    ):
        assert_allclose([found.per_token, found.per_sequence, found.mean_of_sequences], [11 / 4, 11 / 2, 7 / 2])
        assert_allclose(found.perplexity, math.exp(11 / 4))
        assert (found.tokens, found.sequences) == (4, 2)


def test_the_perplexity_of_a_uniform_model_is_its_vocabulary():
    assert_allclose(likelihood(np.full((3, 7), math.log(5000))).perplexity, 5000)


def test_impossible_tokens():
    assert likelihood([[1.0, math.inf]]).perplexity == math.inf
    assert likelihood([[1000.0]]).perplexity == math.inf


def test_the_oracle_of_seqgan_counts_per_token():
    arrays = golden("seqgan_oracle.npz")
    found = likelihood(arrays["out/token_nll"])
    assert_allclose(found.per_token, arrays["out/nll_mean"].mean(), rtol=1e-12)
    assert_allclose(found.per_sequence, arrays["out/nll_sum"].mean(), rtol=1e-12)
    assert_allclose(found.per_sequence, 20 * found.per_token, rtol=1e-12)


def test_what_is_refused():
    for nll, mask, message in (
        ([1.0, 2.0], None, "a sequence's NLLs are no list"),
        (np.zeros(3), None, r"shape \[3\]"),
        ([[]], None, "there is no token"),
        ([[1.0]], [[0]], "there is no token"),
        (NLL, None, "2 of 6 NLLs are NaN"),
        ([[-1.0, -2.0]], None, "give -log p instead of log p"),
        (NLL, [[1, 1, 1]], r"mask has shape \[1, 3\], NLLs \[2, 3\]"),
        (NLL, [[1, 1, 1], [0.5, 0, 0]], "of 0 and 1"),
        ([[1.0], [1.0, 2.0]], [[1]], "several lengths and a mask"),
    ):
        with pytest.raises(MetricError, match=message):
            likelihood(nll, mask)
