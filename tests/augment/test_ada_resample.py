"""Doubling and halving rows: what they are, that each is the other's transpose, and derivatives of all orders."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.augment.ada.geometry import LOWPASS, contract, spread

TAPS = tuple(float(tap) for tap in LOWPASS)


def matrix(offset, n, length):
    """`[length, n]`: how much of sample s is in row i."""
    tap = lambda k: TAPS[k] if 0 <= k < len(TAPS) else 0.0
    return np.array([[tap(i - 2 * s + offset) for s in range(n)] for i in range(length)])


@pytest.mark.parametrize(("offset", "n", "length"), [(5, 8, 16), (-1, 6, 24), (0, 5, 9), (3, 4, 21)])
def test_they_are_a_matrix_and_its_transpose(offset, n, length):
    m = matrix(offset, n, length)
    x, y = (np.random.default_rng(0).standard_normal((size, 2, 3)).astype("f4") for size in (n, length))
    doubled, pulled = jax.vjp(jax.jit(lambda x: spread(x, TAPS, offset, n, length)), jnp.asarray(x))
    np.testing.assert_allclose(doubled, np.einsum("is,swc->iwc", m, x), atol=1e-6)
    np.testing.assert_allclose(pulled(jnp.asarray(y))[0], np.einsum("is,iwc->swc", m, y), atol=1e-6)
    halved = jax.jit(lambda y: contract(y, TAPS, offset, n, length))(y)
    np.testing.assert_allclose(halved, np.einsum("is,iwc->swc", m, y), atol=1e-6)


def test_second_derivatives():
    """Of |grad |A x|^4|^2, as a gradient penalty through the augmentation has them, against the matrix."""
    offset, n, length = -1, 6, 24
    m, x = jnp.asarray(matrix(offset, n, length), jnp.float32), jax.random.normal(jax.random.key(0), (6, 1, 1))
    ours = lambda x: contract(jnp.square(spread(x, TAPS, offset, n, length)), TAPS, offset, n, length).sum()
    plain = lambda x: (m.T @ jnp.square(m @ x[:, 0, 0])).sum()
    penalty = lambda f: jax.jit(jax.grad(lambda x: jnp.square(jax.grad(f)(x)).sum()))(x)
    np.testing.assert_allclose(penalty(ours), penalty(plain), rtol=1e-4, atol=1e-5)
