"""MAUVE: numbers of mauve-text's formulas on histograms, what equal and disjoint ones have, clusters, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.metrics import MetricError
from gan_jax.metrics.statistics import frechet_distance, summarise
from gan_jax.metrics.text import curve_area, divergence_curve, frontier_integral, mauve, mauve_of_counts
from gan_jax.metrics.text.mauve import default_clusters, k_means, principal_components
from tests.golden import golden

P, Q = np.array([3, 1, 0, 4, 2]), np.array([1, 0, 2, 4, 1])


# the formulas of mauve-text 0.4.0, without its clusters
def test_numbers_of_histograms():
    found = mauve_of_counts(P, Q)
    assert_allclose(found.mauve, 0.4753084529682209, rtol=1e-12)
    assert_allclose(found.mauve_star, 0.8346735990515697, rtol=1e-12)
    assert_allclose(found.frontier_integral, 0.2094445772376426, rtol=1e-12)
    assert_allclose(found.frontier_integral_star, 0.08446628414113093, rtol=1e-12)
    assert_allclose(curve_area(divergence_curve(P, Q, scaling=2, points=11)), 0.8271971261429527, rtol=1e-12)


def test_a_point_of_the_curve_by_hand():
    """P all in one cluster, Q in both halves, R their mean: KL(Q|R) = log(2/3)/2 + log(2)/2, KL(P|R) = log(4/3)."""
    point = divergence_curve([1, 0], [1, 1], scaling=1, points=3)[2]
    assert_allclose(point, [(4 / 3) ** -0.5, 3 / 4], rtol=1e-12)


def test_equal_and_disjoint_histograms():
    for p in (np.ones(2), np.ones(4), np.array([0.3, 0.5, 0.2])):  # sorting alone would give the first two 0.75
        assert_allclose(curve_area(divergence_curve(p, p)), 1, rtol=1e-12)
        assert frontier_integral(p, 2 * p) == 0
    assert_allclose(curve_area(divergence_curve([1, 0], [0, 1])), 0.0040720962619612555, rtol=1e-9)
    assert_allclose(frontier_integral([1, 0], [0, 1]), 1)


def test_the_frontier_integral_of_close_histograms_keeps_its_digits():
    """A cluster of shares that differ by d adds d^2 / (6 p): here two, of p 1/2."""
    d = 1e-6
    assert_allclose(frontier_integral([0.5 + d, 0.5 - d], [0.5, 0.5]), 2 * d**2 / (6 * 0.5), rtol=1e-3)


@pytest.mark.parametrize("name", ["blobs", "gauss"])
def test_golden_values(name):
    arrays = golden("text_features.npz")
    p, q = arrays[f"in/{name}_p"], arrays[f"in/{name}_q"]
    p_hist, q_hist = arrays[f"out/{name}_p_hist"], arrays[f"out/{name}_q_hist"]
    found = mauve_of_counts(np.round(p_hist * len(p)), np.round(q_hist * len(q)))
    for field in ("mauve", "mauve_star", "frontier_integral", "frontier_integral_star"):
        assert_allclose(getattr(found, field), arrays[f"out/{name}_{field}"], rtol=1e-9)
    assert_allclose(found.curve, arrays[f"out/{name}_divergence_curve"], atol=1e-9)
    assert_allclose(curve_area(divergence_curve(p_hist, q_hist)), arrays[f"out/{name}_mauve"], rtol=1e-9)
    end_to_end = mauve(p, q, clusters=8).mauve
    assert_allclose(end_to_end, arrays[f"out/{name}_mauve"], atol=1e-9 if name == "blobs" else 0.2)


def test_clusters_of_separated_blobs_are_found():
    arrays = golden("text_features.npz")
    labels = np.concatenate([arrays["in/blobs_p_labels"], arrays["in/blobs_q_labels"]])
    rows = principal_components(np.concatenate([arrays["in/blobs_p"], arrays["in/blobs_q"]]).astype(np.float64))
    found = k_means(rows, 8)
    assert len(set(zip(labels.tolist(), found.tolist()))) == 8


@pytest.mark.parametrize("name, tolerance", [("blobs", 1e-8), ("gauss", 1e-8), ("few", 1e-6)])
def test_the_frechet_distance_of_text_features(name, tolerance):
    arrays = golden("text_features.npz")
    p, q = summarise(arrays[f"in/{name}_p"]), summarise(arrays[f"in/{name}_q"])
    assert_allclose(frechet_distance(p, q, allow_singular=True), arrays[f"out/{name}_frechet"], rtol=tolerance)


def test_clusters_by_hand():
    rows = np.array([[0.0], [0.1], [5.0], [5.1], [9.0]])
    labels = k_means(rows, 3, seed=3)
    assert labels[0] == labels[1] != labels[2] == labels[3] != labels[4] != labels[0]
    assert len(set(k_means(rows, 5))) == 5
    assert_array_equal(k_means(np.zeros((6, 2)), 3), np.zeros(6))
    assert_array_equal(k_means(rows, 3, seed=7), k_means(rows, 3, seed=7))


def test_components_keep_the_share_of_the_variance():
    """Rows +-(cos, sin) of length 1: 0.64 of the variance in one axis, 0.36 in the other. Scale does not count."""
    rows = np.array([[0.8, 0.6], [0.8, -0.6], [-0.8, 0.6], [-0.8, -0.6]])
    assert principal_components(rows * [[1], [2], [3], [4]], 0.6).shape == (4, 1)
    assert_allclose(np.abs(principal_components(rows, 0.6)), 0.8)
    assert principal_components(rows, 0.7).shape == (4, 2)
    assert principal_components(np.ones((3, 4))).shape == (3, 1)


def test_the_number_of_clusters():
    assert [default_clusters(n, m) for n, m in ((500, 300), (10, 400), (34, 36), (36, 1000))] == [30, 2, 3, 4]
    random = np.random.default_rng(0)
    found = mauve(random.normal(size=(40, 5)), random.normal(size=(60, 5)))
    assert len(found.p_counts) == len(found.q_counts) == 4
    assert (found.p_counts.sum(), found.q_counts.sum()) == (40, 60)


def test_equal_features_have_1_and_far_ones_almost_0():
    features = np.random.default_rng(0).normal(size=(50, 4))
    assert_allclose(mauve(features, features).mauve, 1, rtol=1e-9)
    assert mauve(features + 20, features - 20, clusters=2).mauve < 0.01
    assert_allclose(mauve(np.ones((5, 2)), np.ones((7, 2))).mauve, 1, rtol=1e-9)


def test_what_is_refused():
    some = np.random.default_rng(0).normal(size=(6, 3))
    for call, message in (
        (lambda: mauve(some, some[:0]), "q_features is empty"),
        (lambda: mauve(some, some[:, :2]), "features of 3 and of 2 dimensions"),
        (lambda: mauve(some * math.nan, some), "row 0 of p_features is not finite"),
        (lambda: mauve(some, some, clusters=13), "13 clusters of 12 texts"),
        (lambda: mauve(some, some, clusters=0), "clusters is 0"),
        (lambda: mauve(some, some, clusters=2.0), "clusters is 2.0"),
        (lambda: mauve(some, some, variance=0), "variance is 0"),
        (lambda: mauve(some, some, restarts=0), "restarts is 0"),
        (lambda: mauve(some, some, scaling=0), "scaling is 0"),
        (lambda: mauve(some, some, points=1), "points is 1"),
        (lambda: mauve_of_counts([1, 2], [1]), r"shapes \[2\] and \[1\]"),
        (lambda: mauve_of_counts([1, 2], [0, 0]), "none below 0 and one above"),
        (lambda: mauve_of_counts([0.5, 0.5], [1, 2]), "counts are integers"),
        (lambda: divergence_curve([-1, 2], [1, 0]), "none below 0"),
    ):
        with pytest.raises(MetricError, match=message):
            call()
