"""Statistics and the Frechet distance: golden values, closed forms, streaming, bad input."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from gan_jax.metrics import (
    MetricError,
    empty_statistics,
    frechet_distance,
    frechet_from_moments,
    summarise,
)
from tests.metrics import golden


def test_the_golden_features_are_the_ones_that_the_values_were_computed_from():
    assert_allclose(golden.X.sum(), 2040.3618426758, rtol=1e-12)
    assert_allclose(golden.Y.sum(), 402.1522479969, rtol=1e-12)
    assert_allclose(golden.X[0, :3], [0.41161543, 0.77428791, 1.04569869], atol=1e-8)


def test_golden_means():
    difference = summarise(golden.X).mean - summarise(golden.Y).mean
    assert_allclose(difference @ difference, 2.4995772866, rtol=1e-10)


@pytest.mark.parametrize(("ddof", "value"), [(1, 2.9399014284), (0, 2.9387966754)])
def test_golden_distance(ddof, value):
    a, b = summarise(golden.X), summarise(golden.Y)
    assert_allclose(frechet_distance(a, b, ddof=ddof), value, rtol=1e-10)
    assert_allclose(frechet_distance(b, a, ddof=ddof), value, rtol=1e-10)


def test_default_divides_by_n_minus_1():
    a, b = summarise(golden.X), summarise(golden.Y)
    assert frechet_distance(a, b) == frechet_distance(a, b, ddof=1)


def test_closed_form_of_two_gaussians():
    value = frechet_from_moments(np.zeros(2), np.eye(2), np.array([1.0, 2.0]), 4 * np.eye(2))
    assert_allclose(value, 7.0, rtol=1e-14)


def test_closed_form_of_commuting_covariances():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    a, b, shift = rng.uniform(0, 3, 12), rng.uniform(0, 3, 12), rng.normal(size=12)
    value = frechet_from_moments(np.zeros(12), basis * a @ basis.T, shift, basis * b @ basis.T)
    assert_allclose(value, shift @ shift + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum(), rtol=1e-10)


def test_agrees_with_the_matrix_square_root_of_the_product():
    linalg = pytest.importorskip("scipy.linalg")
    a, b = summarise(golden.X), summarise(golden.Y)
    cross = np.trace(linalg.sqrtm(a.covariance() @ b.covariance())).real
    expected = ((a.mean - b.mean) ** 2).sum() + np.trace(a.covariance()) + np.trace(b.covariance()) - 2 * cross
    assert_allclose(frechet_distance(a, b), expected, rtol=1e-8)


def test_equal_sets_are_at_distance_zero_even_when_the_covariance_is_singular():
    flat = golden.X[:, [0, 1, 1, 2, 2]]  # rank 3 in 5 dimensions
    assert_allclose(frechet_distance(summarise(flat), summarise(flat)), 0.0, atol=1e-12)
    moved = summarise(flat + np.array([3.0, 0, 0, 0, 0]))
    assert_allclose(frechet_distance(summarise(flat), moved), 9.0, rtol=1e-7)


def test_rounding_never_makes_a_distance_negative():
    rng = np.random.default_rng(0)
    same = [summarise(rng.normal(size=(50, 12)) @ rng.normal(size=(12, 12))) for _ in range(20)]
    distances = [frechet_distance(stats, stats) for stats in same]
    assert_allclose(distances, 0.0, atol=1e-11)
    assert min(distances) >= 0.0


def test_covariance_is_numpys():
    stats = summarise(golden.X)
    assert_allclose(stats.covariance(1), np.cov(golden.X.T), atol=1e-13)
    assert_allclose(stats.covariance(0), np.cov(golden.X.T, bias=True), atol=1e-13)


@settings(deadline=None, max_examples=25)
@given(cuts=st.lists(st.integers(0, 300), max_size=8))
def test_streaming_in_any_pieces_gives_the_same_distance(cuts):
    pieces = np.split(golden.X.astype(np.float32), sorted(cuts))
    streamed = sum((summarise(piece) for piece in pieces), empty_statistics(16))
    whole = summarise(golden.X.astype(np.float32))
    assert streamed.n == whole.n
    assert_allclose(streamed.scatter, whole.scatter, rtol=1e-12, atol=1e-11)
    assert_allclose(streamed.outer, golden.X.T @ golden.X, rtol=1e-6, atol=1e-4)
    other = summarise(golden.Y)
    assert_allclose(frechet_distance(streamed, other), frechet_distance(whole, other), rtol=1e-11)


def test_shards_of_devices_merge_in_any_order():
    shards = [summarise(golden.X[i::8]) for i in range(8)]
    other = summarise(golden.Y)
    forwards = frechet_distance(sum(shards, empty_statistics(16)), other)
    backwards = frechet_distance(sum(shards[::-1], empty_statistics(16)), other)
    assert_allclose([forwards, backwards], 2.9399014284, rtol=1e-10)


def test_accumulation_is_float64_whatever_comes_in():
    values = (golden.X + 300).astype(np.float32)  # float32 sums of squares would lose the spread
    expected = np.cov(values.astype(np.float64).T)
    assert_allclose(summarise(values).covariance(), expected, rtol=1e-6, atol=1e-8)


def test_no_more_samples_than_dimensions_is_an_error_that_says_what_to_do():
    few, many = summarise(golden.X[:16]), summarise(golden.Y)
    with pytest.raises(
        MetricError, match=r"first set has 16 samples of 16 dimensions.*more than 16.*KID.*allow_singular"
    ):
        frechet_distance(few, many)
    with pytest.raises(MetricError, match="second set has 16"):
        frechet_distance(many, few)
    assert frechet_distance(summarise(golden.X[:17]), many) > 0
    assert frechet_distance(few, many, allow_singular=True) > 0


def test_one_sample_is_an_error_even_when_singular_is_allowed():
    with pytest.raises(MetricError, match="covariance of 1 sample"):
        frechet_distance(summarise(golden.X[:1]), summarise(golden.Y), allow_singular=True)
    with pytest.raises(MetricError, match="mean of no features"):
        frechet_distance(empty_statistics(16), summarise(golden.Y))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_name_the_row(bad):
    values = golden.X.copy()
    values[[37, 90], 5] = bad
    with pytest.raises(MetricError, match=r"row 37 of features is not finite.*column 5; 2 such row"):
        summarise(values)
    with pytest.raises(MetricError, match="row 1037 of"):
        summarise(values, first_row=1000)


def test_other_bad_input():
    with pytest.raises(MetricError, match="of 16 and of 5 dimensions"):
        frechet_distance(summarise(golden.X), summarise(golden.Y[:, :5]))
    with pytest.raises(MetricError, match="of 16 and of 5 dimensions"):
        summarise(golden.X) + summarise(golden.Y[:, :5])
    with pytest.raises(MetricError, match=r"shape \[300\]"):
        summarise(golden.X[:, 0])
    with pytest.raises(MetricError, match="is uint8"):
        summarise(np.zeros((3, 4), np.uint8))
    with pytest.raises(MetricError, match="ddof is 2"):
        summarise(golden.X).covariance(2)


def test_a_matrix_that_is_no_covariance_is_an_error_not_a_clipped_number():
    good = np.eye(3)
    with pytest.raises(MetricError, match="first set has eigenvalue -0.1"):
        frechet_from_moments(np.zeros(3), np.diag([1.0, 1.0, -0.1]), np.zeros(3), good)
    with pytest.raises(MetricError, match="second set has eigenvalue -1"):
        frechet_from_moments(np.zeros(3), good, np.zeros(3), -good)
    rounding = np.diag([1.0, 1.0, -1e-12])
    assert_allclose(frechet_from_moments(np.zeros(3), rounding, np.zeros(3), np.diag([1.0, 1.0, 0.0])), 0.0, atol=1e-9)


@pytest.mark.parametrize(("offset", "spread"), [(1e3, 0.01), (1e5, 0.01), (1e7, 1.0), (1e9, 1.0)])
def test_a_mean_far_beyond_the_spread_costs_only_the_digits_that_the_features_lost(offset, spread):
    far = [golden.X * spread + offset, golden.Y * spread + offset]
    near = [x - offset for x in far]  # exact: what is left of the features after they were stored
    expected = frechet_distance(*map(summarise, near))
    assert_allclose(frechet_distance(*map(summarise, far)), expected, rtol=1e-6)
    parts = sum((summarise(far[0][i : i + 7]) for i in range(0, 300, 7)), empty_statistics(16))
    assert_allclose(parts.covariance(), np.cov(near[0].T), rtol=1e-6, atol=1e-7 * spread**2)


@pytest.mark.parametrize("dim", [3, 64])
def test_a_set_of_one_image_has_a_covariance_of_zero(dim):
    rng = np.random.default_rng(0)
    real = rng.normal(1.0, 1.0, (200, dim))
    for _ in range(20):
        row = rng.normal(1, 3, (1, dim)).astype(np.float32)
        one = sum((summarise(np.repeat(row, n, 0)) for n in (60, 7, 33)), empty_statistics(dim))
        assert np.all(one.covariance() == 0)
        expected = np.square(real.mean(0) - row[0]).sum() + real.var(0, ddof=1).sum()
        assert_allclose(frechet_distance(summarise(real), one), expected, rtol=1e-12)
        assert frechet_distance(one, one) == 0.0


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float8_e4m3fn"])
def test_half_precision_is_widened(dtype):
    values = golden.X.astype(jnp.dtype(dtype))
    expected = summarise(np.asarray(values, np.float64))
    assert_allclose(summarise(values).covariance(), expected.covariance(), rtol=1e-12, atol=1e-14)
    assert_allclose(summarise(jnp.asarray(values)).mean, expected.mean, rtol=1e-12, atol=1e-14)
    assert summarise(np.full((60, 2), 5e4, np.float16)).mean[0] == 49984.0  # whose sum is beyond float16
    with pytest.raises(MetricError, match="row 3 of features is not finite"):
        summarise(np.where(np.arange(300)[:, None] == 3, np.nan, golden.X).astype(jnp.bfloat16))


def test_features_whose_powers_would_overflow_are_refused():
    with pytest.raises(MetricError, match="magnitude 1e\\+200, beyond what float32 holds"):
        summarise(np.full((3, 2), 1e200))
    assert summarise(np.full((3, 2), 3e38, np.float32)).covariance().tolist() == [[0, 0], [0, 0]]
