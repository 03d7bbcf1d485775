"""Correlations within and between maps against numbers worked out by hand and by plain loops, in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.losses.correspondence import (
    centre,
    cross_correlation,
    cross_correlation_distance,
    self_correlation_distance,
    smooth_l1,
    tiles,
)
from tests.losses.slopes import assert_slope


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


def cosine(a, b):
    return a @ b / np.sqrt((a @ a) * (b @ b))


def test_windows_are_the_quarters_and_the_centre():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    assert_array_equal(tiles(x)[0, :, :, 0], [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]])
    assert_array_equal(centre(x)[0, :, :, 0], [[5, 6, 9, 10]])


def test_smooth_l1():
    assert_allclose(
        smooth_l1(jnp.array([0.5, 1.0, -3.0, 2.0]), jnp.array([0.0, 0.0, 0.0, 2.0])), [1 / 8, 1 / 2, 5 / 2, 0]
    )


def test_self_correlation_by_loops():
    now, old = (np.asarray(draw(2, 4, 4, 3, seed=i)) for i in (0, 1))
    corners = [(0, 0), (0, 2), (2, 0), (2, 2)]

    def moved(n, top, left):
        places = [(top + i, left + j) for i in range(2) for j in range(2)]
        found = []
        for p in places:
            for q in places:
                d = abs(cosine(now[n][p], now[n][q]) - cosine(old[n][p], old[n][q]))
                found.append(d * d / 2 if d < 1 else d - 0.5)
        return np.mean(found)

    want = [np.mean([moved(n, *corner) for corner in corners]) + moved(n, 1, 1) for n in range(2)]
    assert_allclose(self_correlation_distance(jnp.asarray(now), jnp.asarray(old)), want, rtol=1e-9)


def test_one_place_that_turns():
    """Old: all alike, every cosine 1. Now one corner is orthogonal: 6 of its window's 16 cosines are 0, each counts 1/2."""
    old = jnp.broadcast_to(jnp.array([1.0, 0.0]), (1, 4, 4, 2))
    now = old.at[0, 0, 0].set(jnp.array([0.0, 5.0]))
    assert_allclose(self_correlation_distance(now, old), [6 / 16 / 2 / 4], rtol=1e-9)


def test_cross_correlation_by_loops():
    x, group = np.asarray(draw(6, 2, 3, 4)), 3
    got = cross_correlation(jnp.asarray(x), group)
    assert got.shape == (6, 6, 2)
    for n in range(6):
        others = [m for m in range(n // group * group, n // group * group + group) if m != n]
        for place in range(6):
            at = divmod(place, 3)
            shares = np.exp([cosine(x[n][at], x[m][at]) for m in others])
            assert_allclose(got[n, place], shares / shares.sum(), rtol=1e-9)


def test_distances_vanish_where_they_start_and_slope_elsewhere():
    old = draw(3, 4, 4, 2)
    terms = [
        lambda x: self_correlation_distance(x, old).mean(),
        lambda x: cross_correlation_distance(x, old, 3).mean(),
    ]
    for value in terms:
        assert_allclose(value(old), 0, atol=1e-15)
        assert_slope(value, old + 0.3 * draw(3, 4, 4, 2, seed=1))
    # Absolute differences have a kink there, where rounding decides the slope; only the other term is smooth.
    assert_allclose(jax.jit(jax.grad(terms[0]))(old), np.zeros_like(old), atol=1e-15)


def test_maps_of_other_groups_do_not_matter():
    now, old = draw(4, 2, 2, 3), draw(4, 2, 2, 3, seed=1)
    whole = cross_correlation_distance(now, old, 2)
    assert_allclose(whole[:2], cross_correlation_distance(now[:2], old[:2], 2), rtol=1e-12)
    with pytest.raises(ValueError, match="4 samples on a device do not fall into groups of 3"):
        cross_correlation(now, 3)
