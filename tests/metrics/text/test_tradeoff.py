"""Quality against diversity: which point dominates which, and the area below a front, by hand."""

from __future__ import annotations

import math

import pytest
from numpy.testing import assert_allclose

from gan_jax.metrics import MetricError
from gan_jax.metrics.text import CurvePoint, dominated_area, dominated_share, dominates, front


def point(bleu, self_bleu, temperature=1.0):
    return CurvePoint(temperature, {"bleu3": bleu}, {"self_bleu3": self_bleu})


def test_a_point_dominates_that_is_worse_in_nothing():
    assert dominates(point(0.5, 0.6), point(0.4, 0.7))
    assert dominates(point(0.5, 0.6), point(0.5, 0.7))  # self-BLEU is better where it is smaller
    assert not dominates(point(0.5, 0.6), point(0.5, 0.6))
    assert not dominates(point(0.5, 0.6), point(0.4, 0.5))
    assert not dominates(point(0.4, 0.7), point(0.5, 0.6))


def test_signs():
    a = CurvePoint(1.0, {"perplexity": 20.0, "mauve": 0.5}, {"distinct2": 0.3, "reverse_perplexity": 30.0})
    b = CurvePoint(1.0, {"perplexity": 25.0, "mauve": 0.4}, {"distinct2": 0.2, "reverse_perplexity": 31.0})
    assert dominates(a, b) and not dominates(b, a)


def test_fronts():
    points = [point(0.2, 0.1), point(0.5, 0.5), point(0.4, 0.6), point(0.7, 0.9)]
    assert front(points) == [points[0], points[1], points[3]]
    assert dominated_share(points, [point(0.1, 0.2), point(0.6, 0.6), point(0.3, 0.55), point(0.9, 0.9)]) == 0.5


def test_the_area_by_hand():
    """Rectangles of 0.7 x 0.1, 0.5 x (0.5 - 0.1) and 0.2 x (0.9 - 0.5); what lies below them adds nothing."""
    points = [point(0.2, 0.1), point(0.5, 0.5), point(0.4, 0.6), point(0.7, 0.9), point(0.9, 1.2)]
    assert_allclose(dominated_area(points, "bleu3", "self_bleu3", (0, 1)), 0.07 + 0.2 + 0.08)
    assert dominated_area([point(0.2, 0.1)], "bleu3", "self_bleu3", (0.3, 1)) == 0


def test_what_is_refused():
    with pytest.raises(MetricError, match="points of bleu3, self_bleu3 and of bleu3"):
        dominates(point(1, 1), CurvePoint(1.0, {"bleu3": 1.0}, {}))
    with pytest.raises(MetricError, match="bleu3 of a point is NaN"):
        dominates(point(1, 1), point(math.nan, 1))
    with pytest.raises(MetricError, match="temperature 0.5 has no bleu2; it has bleu3"):
        dominated_area([point(1, 1, 0.5)], "bleu2", "self_bleu3", (0, 1))
    with pytest.raises(MetricError, match="a curve has no points"):
        dominated_share([point(1, 1)], [])
