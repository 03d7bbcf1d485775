"""Penalties against critics whose gradient is known: linear, quadratic, and constant."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

from gan_jax.losses import gradient_penalty, squared_gradient

SHAPE = (3, 4, 4, 2)
W = jax.random.normal(jax.random.key(0), SHAPE[1:])
X, Y = jax.random.normal(jax.random.key(1), (2, *SHAPE))
MIX = jnp.array([0.0, 0.25, 1.0])


def linear(x, scale=1.0):
    return scale * jnp.einsum("bhwc,hwc->b", x, W)


def quadratic(x):
    return jnp.square(x).sum((1, 2, 3)) / 2


def test_linear_critic_has_the_same_slope_everywhere():
    np.testing.assert_allclose(squared_gradient(linear, X), np.full(3, np.sum(np.square(W))), rtol=1e-5)


def test_quadratic_critic_has_the_slope_of_its_image():
    np.testing.assert_allclose(squared_gradient(quadratic, X), np.square(X).sum((1, 2, 3)), rtol=1e-5)


def test_derivative_of_the_penalty_with_respect_to_the_critic():
    """d/ds |grad (s w.x)|^2 = 2 s |w|^2."""
    slope = jax.grad(lambda s: squared_gradient(lambda x: linear(x, s), X).mean())(1.5)
    np.testing.assert_allclose(slope, 3.0 * np.sum(np.square(W)), rtol=1e-5)
    cubic = lambda x: (x**3).sum((1, 2, 3)) / 10
    check_grads(
        lambda x: squared_gradient(cubic, x).mean(), (X[:1] / 2,), order=1, modes=("rev",), rtol=2e-2, atol=2e-2
    )


def test_gradient_penalty_at_a_linear_critic():
    norm = float(jnp.sqrt(jnp.square(W).sum()))
    np.testing.assert_allclose(gradient_penalty(linear, X, Y, MIX), np.full(3, (norm - 1) ** 2), rtol=1e-5)
    unit = gradient_penalty(lambda x: linear(x, 1 / norm), X, Y, MIX)
    np.testing.assert_allclose(unit, np.zeros(3), atol=1e-10)
    np.testing.assert_allclose(gradient_penalty(lambda x: linear(x, 0.5 / norm), X, Y, MIX), 0.25, rtol=1e-5)


def test_gradient_penalty_is_taken_at_the_mixture():
    """The quadratic's slope is the image itself: mix 0 gives the fake one, 1 the real one."""
    mixed = np.array([0, 0.25, 1])[:, None, None, None] * X + np.array([1, 0.75, 0])[:, None, None, None] * Y
    expected = (np.sqrt(np.square(mixed).sum((1, 2, 3))) - 1) ** 2
    np.testing.assert_allclose(gradient_penalty(quadratic, X, Y, MIX), expected, rtol=1e-5)


def test_a_flat_critic_costs_one_and_has_a_finite_derivative():
    flat = lambda s: gradient_penalty(lambda x: linear(x, s), X, Y, MIX).mean()
    value, slope = jax.value_and_grad(flat)(0.0)
    np.testing.assert_allclose(value, 1.0, atol=1e-5)
    assert np.isfinite(slope)
