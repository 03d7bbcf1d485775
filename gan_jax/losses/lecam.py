"""LeCam regularisation (Tseng et al., 2021): D's logits are kept near the other side's average, for few data."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def lecam(logits_real: jax.Array, logits_fake: jax.Array, anchor_real: jax.Array, anchor_fake: jax.Array) -> jax.Array:
    """Computes relu(real - anchor_fake)^2 + relu(anchor_real - fake)^2: `[B]`, for D.

    Args:
      logits_real, logits_fake: `[B]`.
      anchor_real, anchor_fake: `[]` moving averages of the mean logits of real and of generated images.
    """
    return jnp.square(jax.nn.relu(logits_real - anchor_fake)) + jnp.square(jax.nn.relu(anchor_real - logits_fake))
