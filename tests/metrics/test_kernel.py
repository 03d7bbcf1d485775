"""MMD and KID: golden values, a brute-force reference, subsets, bad input."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax.metrics import MetricError, kernel, kid, mmd2, polynomial_kernel, rbf_kernel
from tests.metrics import golden


def brute_mmd2(x, y, k, unbiased):
    """Three double loops, one pair at a time."""

    def mean(a, b, skip_equal):
        pairs = [(i, j) for i in range(len(a)) for j in range(len(b)) if not (skip_equal and i == j)]
        return np.mean([k(a[i], b[j]) for i, j in pairs])

    return mean(x, x, unbiased) + mean(y, y, unbiased) - 2 * mean(x, y, False)


@pytest.mark.parametrize(("unbiased", "value"), [(True, 0.6453173858), (False, 0.6637485670)])
def test_golden_full(unbiased, value):
    assert_allclose(mmd2(golden.X, golden.Y, unbiased=unbiased), value, rtol=1e-9)


def test_golden_block_of_250():
    assert_allclose(mmd2(golden.X[:250], golden.Y), 0.6430840124, rtol=1e-9)
    block = kid(golden.X[:250], golden.Y, subsets=3)  # a subset as large as both sets is that block
    assert_allclose(block.mean, 0.6430840124, rtol=1e-9)
    assert_allclose(block.std, 0.0, atol=1e-12)


@pytest.mark.parametrize(("sigma", "value"), [(10.0, 23.0885496975), (1.0, 63.1365373245)])
def test_golden_rbf(sigma, value):
    assert_allclose(1000 * mmd2(golden.X, golden.Y, rbf_kernel(sigma), unbiased=False), value, rtol=1e-9)


@pytest.mark.parametrize("unbiased", [True, False])
def test_against_brute_force(unbiased):
    x, y = golden.X[:11, :4], golden.Y[:7, :4]
    cubic = lambda a, b: (a @ b / 4 + 1) ** 3  # noqa: E731
    gaussian = lambda a, b: np.exp(-((a - b) ** 2).sum() / (2 * 0.7**2))  # noqa: E731
    assert_allclose(mmd2(x, y, unbiased=unbiased), brute_mmd2(x, y, cubic, unbiased), rtol=1e-11)
    assert_allclose(mmd2(x, y, rbf_kernel(0.7), unbiased=unbiased), brute_mmd2(x, y, gaussian, unbiased), rtol=1e-11)


def test_tiles_do_not_change_the_value(monkeypatch):
    whole = mmd2(golden.X, golden.Y)
    monkeypatch.setattr(kernel, "TILE", 1000)  # three rows at a time
    assert_allclose(mmd2(golden.X, golden.Y), whole, rtol=1e-12)


def test_subsets_by_the_whole_gram_matrix_equal_subsets_one_by_one():
    many = kid(golden.X, golden.Y, subsets=60, subset_size=40)  # 60 * 80^2 > 550^2: the whole matrix
    draws = np.random.PCG64(0)
    values = []
    for _ in range(60):
        i, j = kernel._draw(draws, 300, 40), kernel._draw(draws, 250, 40)
        values.append(mmd2(golden.X[i], golden.Y[j]))
    assert_allclose(many, (np.mean(values), np.std(values)), rtol=1e-9)
    few = kid(golden.X, golden.Y, subsets=10, subset_size=40)  # 10 * 80^2 < 550^2: one by one
    assert_allclose(few, (np.mean(values[:10]), np.std(values[:10])), rtol=1e-9)


def test_draws_are_fixed_without_repeats_and_follow_the_seed():
    assert kernel._draw(np.random.PCG64(0), 12, 5).tolist() == DRAW_OF_SEED_0
    drawn = kernel._draw(np.random.PCG64(3), 100, 60)
    assert len(set(drawn.tolist())) == 60
    options = {"subsets": 5, "subset_size": 50}
    assert kid(golden.X, golden.Y, **options) == kid(golden.X, golden.Y, **options)
    assert kid(golden.X, golden.Y, **options) != kid(golden.X, golden.Y, **options, seed=1)


def test_subsets_are_as_large_as_fits_up_to_1000():
    x, y = np.random.default_rng(0).normal(size=(2, 1003, 2))
    options = {"subsets": 2, "seed": 4}
    assert kid(x, y, **options) == kid(x, y, **options, subset_size=1000)
    assert kid(x[:30], y, **options) == kid(x[:30], y, **options, subset_size=30)


def test_subset_mean_estimates_the_full_value_and_its_spread_shrinks():
    wide = kid(golden.X, golden.Y, subsets=200, subset_size=20)
    narrow = kid(golden.X, golden.Y, subsets=200, subset_size=150)
    assert_allclose([wide.mean, narrow.mean], 0.6453173858, rtol=0.05)
    assert 0 < narrow.std < wide.std / 2


def test_unbiased_is_zero_on_average_for_equal_distributions_and_biased_is_not():
    rng = np.random.default_rng(0)
    samples = [(rng.normal(size=(20, 8)), rng.normal(size=(20, 8))) for _ in range(300)]
    unbiased = np.array([mmd2(x, y) for x, y in samples])
    biased = np.array([mmd2(x, y, unbiased=False) for x, y in samples])
    assert abs(unbiased.mean()) < 3 * unbiased.std() / 300**0.5
    assert (unbiased < 0).any()
    assert biased.mean() > 10 * biased.std() / 300**0.5


def test_kernel_defaults_are_kids():
    x, y = golden.X[:5], golden.Y[:4]
    assert_allclose(polynomial_kernel()(x, y), (x @ y.T / 16 + 1) ** 3, rtol=1e-13)
    assert_allclose(polynomial_kernel(2, 0.5, 0.0)(x, y), (x @ y.T / 2) ** 2, rtol=1e-13)


def test_bad_input():
    with pytest.raises(MetricError, match=r"subsets of 251 from 300 real and 250 fake.*2 to 250"):
        kid(golden.X, golden.Y, subset_size=251)
    with pytest.raises(MetricError, match="at least 1 subset"):
        kid(golden.X, golden.Y, subsets=0)
    with pytest.raises(MetricError, match="subsets of 1 "):
        kid(golden.X, golden.Y, subset_size=1)
    with pytest.raises(MetricError, match=r"fake features has 1 sample"):
        kid(golden.X, golden.Y[:1])
    with pytest.raises(MetricError, match="16 and of 3 dimensions"):
        mmd2(golden.X, golden.Y[:, :3])
    broken = golden.Y.copy()
    broken[4, 2] = np.nan
    with pytest.raises(MetricError, match="row 4 of fake features"):
        kid(golden.X, broken)


DRAW_OF_SEED_0 = [1, 2, 3, 8, 11]


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e5])
def test_a_mean_far_beyond_the_spread_costs_no_digits(offset):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 12, 4)) * 0.01 + offset
    y = y + 0.003
    exact_x, exact_y = ([[Fraction(float(v)) for v in row] for row in rows] for rows in (x, y))
    cubic = lambda a, b: (sum(p * q for p, q in zip(a, b)) / 4 + 1) ** 3
    within = lambda rows: sum(cubic(a, b) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j)
    between = sum(cubic(a, b) for a in exact_x for b in exact_y)
    expected = float((within(exact_x) + within(exact_y)) / 132 - 2 * between / 144)
    assert_allclose(mmd2(x, y), expected, rtol=1e-10)
    assert_allclose(kid(x, y, subsets=2).mean, expected, rtol=1e-10)
    near = mmd2(x - offset, y - offset, rbf_kernel(0.02))
    assert_allclose(mmd2(x, y, rbf_kernel(0.02)), near, rtol=1e-7)


@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize(("degree", "gamma", "coef"), [(1, None, 1.0), (2, 0.5, 2.0), (3, None, 0.0), (5, None, 1.0)])
def test_polynomials_of_centred_features_are_those_of_features(degree, gamma, coef, unbiased):
    rng = np.random.default_rng(0)
    x, y, ours = rng.normal(size=(20, 4)), rng.normal(size=(15, 4)) + 0.5, polynomial_kernel(degree, gamma, coef)
    plain = lambda a, b: ours(a, b)  # a function of the user's gets features as they are
    assert_allclose(mmd2(x, y, ours, unbiased=unbiased), mmd2(x, y, plain, unbiased=unbiased), rtol=1e-9)


def test_one_far_row_costs_the_others_no_digits():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 8)).astype(np.float32)
    y = np.concatenate([x[:30], np.full((1, 8), 3e6, np.float32)])
    far = 2 * np.float64((x[:30].astype(np.float64).sum(1) * (3e6 / 8) + 1) ** 3).sum() / (31 * 30)
    far -= 2 * ((x.astype(np.float64).sum(1) * (3e6 / 8) + 1) ** 3).sum() / (50 * 31)
    assert_allclose(mmd2(x, y), far, rtol=1e-12)  # what is without the far row is 17 digits below
