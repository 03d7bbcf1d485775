"""Similarities, distance consistency and contrast against numbers worked out by hand, in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.losses.correspondence import (
    contrast,
    diagonal,
    distance_consistency,
    in_groups,
    off_diagonal,
    similarities,
)
from tests.losses.slopes import assert_slope


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


def test_cosines_of_two_samples():
    """(3, 4) and (4, 3) have the cosine 24/25; the other group is orthogonal, whatever its lengths."""
    x = jnp.array([[3.0, 4.0], [4.0, 3.0], [7.0, 0.0], [0.0, 0.1]])
    assert_allclose(similarities(x, x, 2), [[1, 24 / 25], [24 / 25, 1], [1, 0], [0, 1]], rtol=1e-9, atol=1e-12)
    assert_allclose(off_diagonal(similarities(x, x, 2))[:, 0], [24 / 25, 24 / 25, 0, 0], rtol=1e-9, atol=1e-12)
    assert_allclose(diagonal(similarities(x, x[::-1], 2)), [0.8, 0.8, 0.8, 0.8], rtol=1e-9)


def test_rows_and_diagonals_keep_their_order():
    rows = jnp.arange(18.0).reshape(6, 3)  # two tables of 3 x 3
    assert_array_equal(off_diagonal(rows), [[1, 2], [3, 5], [6, 7], [10, 11], [12, 14], [15, 16]])
    assert_array_equal(diagonal(rows), [0, 4, 8, 9, 13, 17])


def test_features_of_any_shape_and_of_zeros():
    a, b = draw(4, 2, 3, 5), draw(4, 2, 3, 5, seed=1)
    flat = [np.asarray(x).reshape(4, -1) for x in (a, b)]
    by_hand = (flat[0] @ flat[1].T) / np.outer(*(np.linalg.norm(x, axis=1) for x in flat))
    assert_allclose(similarities(a, b, 4), by_hand, rtol=1e-9)
    slope = jax.grad(lambda x: similarities(x, b, 4).sum())(jnp.zeros_like(a))
    assert np.isfinite(slope).all()
    assert similarities(a.astype(jnp.bfloat16), b.astype(jnp.bfloat16), 2).dtype == jnp.float32


def test_distance_consistency():
    """p = (1/4, 3/4) now and q = (1/2, 1/2) before: KL = 3/4 log 3 - log 2; the mean is over two."""
    now, old = jnp.log(jnp.array([[1.0, 3.0], [5.0, 5.0]])), jnp.zeros((2, 2))
    assert_allclose(distance_consistency(now, old), [(0.75 * np.log(3) - np.log(2)) / 2, 0], rtol=1e-12, atol=1e-15)
    swapped = (0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)) / 2  # the other way round is another number
    assert_allclose(distance_consistency(old, now)[0], swapped, rtol=1e-12)


def test_distance_consistency_has_its_minimum_where_it_starts():
    features = draw(4, 6)
    value = lambda x: distance_consistency(
        *(off_diagonal(similarities(y, y, 4)) for y in (x, jax.lax.stop_gradient(features)))
    ).mean()
    assert_allclose(value(features), 0, atol=1e-15)
    assert_allclose(jax.jit(jax.grad(value))(features), np.zeros((4, 6)), atol=1e-15)
    assert value(features + 0.1 * draw(4, 6, seed=1)) > 1e-5
    assert_slope(value, features + 0.3 * draw(4, 6, seed=1))


def test_contrast():
    """Scores 1 and 0, 0 at temperature 1/log 2: the positive's share is 2 of 4."""
    positive, negatives = jnp.array([1.0]), jnp.zeros((1, 2))
    assert_allclose(contrast(positive, negatives, 1 / np.log(2)), [np.log(2)], rtol=1e-12)
    rows = draw(3, 4)
    value = lambda x: contrast(x[:, 0], x[:, 1:], 0.07).sum()
    shares = np.exp(np.asarray(rows) / 0.07)
    assert_allclose(value(rows), -np.log(shares[:, 0] / shares.sum(1)).sum(), rtol=1e-10)
    assert_slope(value, rows)


@pytest.mark.parametrize("group", [1, 3, 8])
def test_samples_that_do_not_fall_into_groups(group):
    with pytest.raises(ValueError, match=f"4 samples on a device do not fall into groups of {group} .*transfer.group"):
        in_groups(jnp.zeros((4, 2)), group)


def test_groups_do_not_see_each_other():
    """A batch cut in two gives the same numbers."""
    a, b = draw(8, 5), draw(8, 5, seed=1)
    parts = [similarities(a[i : i + 4], b[i : i + 4], 2) for i in (0, 4)]
    assert_allclose(similarities(a, b, 2), np.concatenate(parts), rtol=1e-12)
