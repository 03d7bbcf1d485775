"""Penalties on the gradient of D with respect to its input. Each takes D as a function `images [B, ...] -> logits [B]`."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

Critic = Callable[[jax.Array], jax.Array]


def squared_gradient(critic: Critic, images: jax.Array) -> jax.Array:
    """Computes |grad_x D(x)|^2 of every image: `[B, ...]` -> `[B]`, summed over pixels.

    R1 is gamma / 2 times its mean over real images, R2 over generated ones (Mescheder et al., 2018). The images must
    not influence each other inside the critic.
    """
    gradient = jax.grad(lambda x: critic(x).sum())(images)
    return jnp.square(gradient).sum(axis=tuple(range(1, images.ndim)))


def gradient_penalty(critic: Critic, real: jax.Array, fake: jax.Array, mix: jax.Array) -> jax.Array:
    """Computes (|grad_x D(x)| - 1)^2 at x = mix * real + (1 - mix) * fake: `[B]` (WGAN-GP, Gulrajani et al., 2017).

    Args:
      critic: D.
      real, fake: `[B, ...]` images.
      mix: `[B]` in [0, 1], one draw per pair.
    """
    mix = mix.reshape(-1, *(1,) * (real.ndim - 1))
    # The root has no derivative at 0; the shift is far below relevant gradients.
    norm = jnp.sqrt(squared_gradient(critic, mix * real + (1 - mix) * fake) + 1e-12)
    return jnp.square(norm - 1)
