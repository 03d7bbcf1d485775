"""Descriptors of generators: cells by hand, units, and who counts as alike."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.fusion.attention import describe, standardised


def test_cells_by_hand():
    images = np.random.default_rng(0).uniform(-1, 1, (3, 8, 4, 2)).astype(np.float32)
    cells = images.reshape(3, 2, 4, 2, 2, 2).astype(np.float64)  # example, row, within, column, within, channel
    want = np.concatenate([cells.mean((0, 2, 4)).ravel(), cells.std((0, 2, 4)).ravel()])
    assert_allclose(describe(jnp.asarray(images), 2), want, rtol=1e-5, atol=1e-6)
    assert describe(jnp.asarray(images)).shape == (2 * 4 * 4 * 2,)
    assert describe(jnp.asarray(images[:, :3, :2])).shape == (2 * 3 * 2 * 2,)
    assert_allclose(describe(jnp.asarray(images[:, :3, :2]))[0], images[:, 0, 0, 0].mean(), rtol=1e-5)
    assert np.isfinite(describe(jnp.asarray(images[:, :7, :5]))).all()  # sides that are no multiple


def test_units_are_of_the_generators():
    rows = np.asarray([[0.1, 3.0, 0.5], [0.3, -1.0, 0.5], [0.2, 1.0, 0.5 + 1e-6]], np.float32)
    got = standardised(jnp.asarray(rows))
    assert_allclose(got[:, :2], (rows - rows.mean(0))[:, :2] / rows.std(0)[:2], rtol=1e-4, atol=1e-5)
    assert np.abs(got[:, 2]).max() < 0.02, "what is alike but for rounding stays so"
    assert_array_equal(standardised(jnp.asarray(rows[:1])), rows[:1])
