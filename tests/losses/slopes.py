"""Gradients against finite differences, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_allclose


def assert_slope(value, x, step=1e-5):
    """The gradient of `value(x) -> []` is what central differences along each axis say, and is not zero."""
    slope = np.asarray(jax.jit(jax.grad(value))(x)).ravel()  # compiled whole: operation by operation takes a minute
    moves = jnp.eye(x.size).reshape(-1, *x.shape) * step
    differences = jax.jit(jax.vmap(lambda move: (value(x + move) - value(x - move)) / (2 * step)))(moves)
    assert np.abs(slope).max() > 1e-4, "a gradient that vanishes tests nothing"
    assert_allclose(slope, differences, rtol=1e-5, atol=1e-7 * np.abs(slope).max())
