"""Precision, recall, density, coverage and memorisation: golden values, brute force, ties, bad input."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.metrics import EmptyBalls, MetricError, as_vectors, memorisation, nearest, neighbours, prdc
from tests.metrics import golden


def brute_prdc(real, fake, k, within):
    def distance(a, b):
        return np.sqrt(((a - b) ** 2).sum())

    def radii(own):
        return [sorted(distance(a, b) for b in own)[k] for a in own]

    real_radius, fake_radius = radii(real), radii(fake)
    d = np.array([[distance(r, f) for f in fake] for r in real])
    precision = np.mean([any(within(d[i, j], real_radius[i]) for i in range(len(real))) for j in range(len(fake))])
    recall = np.mean([any(within(d[i, j], fake_radius[j]) for j in range(len(fake))) for i in range(len(real))])
    density = sum(within(d[i, j], real_radius[i]) for i in range(len(real)) for j in range(len(fake))) / (k * len(fake))
    coverage = np.mean([within(d[i].min(), real_radius[i]) for i in range(len(real))])
    return precision, recall, density, coverage


@pytest.mark.parametrize(
    ("k", "values"), [(3, (0.335, 0.8666667, 0.15, 0.1866667)), (5, (0.96, 0.9566667, 0.758, 0.7233333))]
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_golden(k, values, dtype):
    assert_allclose(prdc(golden.X.astype(dtype), golden.Z[:200].astype(dtype), k), values, atol=5e-8)


def test_golden_extremes():
    assert_allclose(prdc(golden.X, golden.X), (1.0, 1.0, 1.0, 1.0), rtol=1e-12)
    assert prdc(golden.X, golden.Y) == (0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("k", [1, 4])
def test_against_brute_force(k, inclusive):
    rng = np.random.default_rng(1)
    real, fake = rng.normal(size=(40, 3)), rng.normal(size=(25, 3)) * 0.8 + 0.2
    expected = brute_prdc(real, fake, k, np.less_equal if inclusive else np.less)
    assert_allclose(prdc(real, fake, k, inclusive=inclusive), expected, rtol=1e-12)


def test_copies_lie_on_the_balls_of_their_originals_exactly():
    # Half of the fakes are copies: their distances equal the radii up to rounding, which must not count.
    fake = np.concatenate([golden.X[:100], golden.Z[:100]])
    expected = brute_prdc(golden.X, fake, 3, lambda d, r: d < r * (1 - 1e-12))
    assert_allclose(prdc(golden.X, fake, 3), expected, rtol=1e-12)
    for order in (np.random.default_rng(s).permutation(200) for s in range(3)):
        assert_allclose(prdc(golden.X, fake[order], 3), expected, rtol=1e-12)


def test_conventions_differ_on_ties_only():
    # Reals on the integers: radius 1 at k = 1. The fake at 3 lies exactly on the ball of the real at 2.
    real = np.array([[0.0], [1.0], [2.0]])
    fake = np.array([[3.0], [13.0]])
    assert prdc(real, fake, 1).precision == 0.0
    assert prdc(real, fake, 1, inclusive=True).precision == 0.5


def test_repeated_images_have_empty_balls_unless_inclusive():
    real = np.repeat(golden.X[:3], 4, axis=0)  # each three times over: the third neighbour is at distance 0
    lowered = (
        "precision, density and coverage are lower for it; take copies out of the real images, or use a k of at least"
    )
    with pytest.warns(EmptyBalls, match=f"12 of 12 real samples lie more than 3 times in their set.*: {lowered}"):
        assert prdc(real, golden.Y, 3) == (0.0, 0.0, 0.0, 0.0)
    with pytest.warns(EmptyBalls, match="12 of 12 generated samples.*: recall is lower for it; .*mode collapse"):
        assert prdc(golden.Y, real, 3) == (0.0, 0.0, 0.0, 0.0)
    assert prdc(real, real, 3, inclusive=True) == (1.0, 1.0, 4 / 3, 1.0)
    assert prdc(real, real, 4) == (1.0, 1.0, 1.0, 1.0), "the fourth neighbour is another image"


@pytest.mark.parametrize("far", [1e4, 3e6, 1e9])
def test_one_far_row_leaves_all_other_balls_alone(far):
    rng = np.random.default_rng(1)
    real, fake = rng.normal(size=(40, 3)), rng.normal(size=(25, 3)) * 0.8 + 0.2
    real[0, 0] += far
    for inclusive, within in ((False, np.less), (True, np.less_equal)):
        assert_allclose(prdc(real, fake, 4, inclusive=inclusive), brute_prdc(real, fake, 4, within), rtol=1e-12)
    _, distances = nearest(fake, real)
    assert_allclose(distances, [min(np.linalg.norm(f - r) for r in real) for f in fake], rtol=1e-12)


def test_clusters_that_lie_far_apart_keep_their_balls():
    rng = np.random.default_rng(2)
    offset = 1e6 * np.array([[0.0, 0, 0], [1, 0, 0]])[:, None]
    real = (rng.normal(size=(2, 20, 3)) + offset).reshape(-1, 3)
    fake = np.concatenate([(rng.normal(size=(2, 15, 3)) + offset).reshape(-1, 3), real[::7]])
    expected = brute_prdc(real, fake, 3, lambda d, r: d < r * (1 - 1e-12))
    assert 0.3 < expected[0] < 1
    assert_allclose(prdc(real, fake, 3), expected, rtol=1e-12)


def test_tiles_do_not_change_the_value(monkeypatch):
    whole = prdc(golden.X, golden.Z, 5)
    monkeypatch.setattr(neighbours, "TILE", 1000)
    assert prdc(golden.X, golden.Z, 5) == whole


def test_a_far_offset_does_not_change_the_value():
    assert_allclose(prdc(golden.X + 1e5, golden.Z + 1e5, 5), prdc(golden.X, golden.Z, 5), atol=1e-12)


def test_coverage_of_an_equal_distribution():
    rng = np.random.default_rng(0)
    value = prdc(rng.normal(size=(2000, 4)), rng.normal(size=(2000, 4)), 5)
    assert_allclose(value.coverage, 1 - 2**-5, atol=0.02)
    assert_allclose(value.density, 1.0, atol=0.05)


def test_a_collapsed_generator_has_precision_without_recall():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(400, 4))
    collapsed = real[0] + 0.01 * rng.normal(size=(400, 4))
    value = prdc(real, collapsed, 5)
    assert value.precision > 0.99
    assert value.recall < 0.02
    assert value.coverage < 0.1


@pytest.mark.parametrize("k", [0, -1, 300, 1000])
def test_k_must_be_smaller_than_the_sets(k):
    with pytest.raises(MetricError, match=rf"k is {k} for 300 real samples; use 1 to 299"):
        prdc(golden.X, golden.Z, k)
    with pytest.raises(MetricError, match="for 20 fake samples"):
        prdc(golden.X, golden.Z[:20], 20)


def test_other_bad_input():
    with pytest.raises(MetricError, match="16 and of 2 dimensions"):
        prdc(golden.X, golden.Z[:, :2])
    with pytest.raises(MetricError, match="real features has 1 sample"):
        prdc(golden.X[:1], golden.Z)
    with pytest.raises(MetricError, match="both need at least one row"):
        nearest(golden.X[:0], golden.X)
    with pytest.raises(MetricError, match="16 and of 2 dimensions"):
        nearest(golden.X[:, :2], golden.X)
    broken = golden.X.copy()
    broken[7] = np.nan
    with pytest.raises(MetricError, match="row 7 of the bank"):
        nearest(golden.Z, broken)
    with pytest.raises(MetricError, match=r"float64\[300, 16\]"):
        as_vectors(golden.X)


def test_nearest_against_brute_force():
    indices, distances = nearest(golden.Z[:50], golden.X)
    full = np.sqrt(((golden.Z[:50, None] - golden.X[None]) ** 2).sum(2))
    assert_array_equal(indices, full.argmin(1))
    assert_allclose(distances, full.min(1), rtol=1e-9)
    indices, distances = nearest(golden.X, golden.X)
    assert_array_equal(indices, np.arange(300))
    assert_array_equal(distances, 0.0)  # exactly: rounding would show as 1e-8


def test_memorised_images_are_told_from_new_ones():
    rng = np.random.default_rng(0)
    train, held_out, new = (rng.integers(0, 256, (60, 8, 8, 1), dtype=np.uint8) for _ in range(3))
    order = rng.permutation(60)
    copies = np.where(rng.random((60, 8, 8, 1)) < 0.9, train[order], rng.integers(0, 256, (60, 8, 8, 1))).astype(
        np.uint8
    )
    copied = memorisation(*map(as_vectors, (copies, train, held_out)))
    assert_array_equal(copied.indices, order)
    assert copied.ratio < 0.5
    assert_allclose(copied.closer, 1.0, atol=1e-12)
    fresh = memorisation(*map(as_vectors, (new, train, held_out)))
    assert_allclose(fresh.ratio, 1.0, atol=0.05)
    assert_allclose(fresh.closer, 0.5, atol=0.15)
    exact = memorisation(*map(as_vectors, (train[:5], train, held_out)))
    assert_allclose(exact.distances, 0.0, atol=0)


def test_closer_counts_ties_half():
    train, held_out = np.zeros((1, 1)), np.array([[1.0], [2.0], [3.0], [4.0]])
    assert_allclose(memorisation(np.array([[2.0]]), train, held_out).closer, (0.5 + 2) / 4)


def test_held_out_images_must_not_be_training_images():
    with pytest.raises(MetricError, match="take them out"):
        memorisation(golden.Y, golden.X, golden.X[:10])
