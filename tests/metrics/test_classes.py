"""Histograms of classes: by hand, and what a dropped mode costs."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax.metrics import MetricError, class_kl, class_shares


def logits_of(classes, count: int = 10) -> np.ndarray:
    return np.eye(count, dtype=np.float32)[np.asarray(classes)]


def test_every_image_counts_for_its_largest_logit():
    assert_allclose(class_shares(np.array([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0], [0.0, 0.1, 0.2], [-5.0, -1.0, -9.0]])),
                    [0.25, 0.5, 0.25])  # fmt: skip


def test_half_of_the_classes_cost_log_2():
    real = logits_of(np.tile(np.arange(10), 1000))
    assert class_kl(real, logits_of(np.tile(np.arange(10), 7))) == pytest.approx(0, abs=1e-12)
    assert class_kl(real, logits_of(np.tile(np.arange(5), 7))) == pytest.approx(np.log(2))
    assert class_kl(real, logits_of([3])) == pytest.approx(np.log(10))


def test_a_class_that_the_reference_lacks_is_dear_and_finite():
    real = logits_of([0] * 98, 2)
    assert class_kl(real, logits_of([1], 2)) == pytest.approx(np.log(100))


def test_two_classifiers_are_refused():
    with pytest.raises(MetricError, match="9 classes of generated images, but 10 of the reference"):
        class_kl(logits_of([0, 1]), logits_of([0, 1], 9))
