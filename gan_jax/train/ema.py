"""The moving average of G, counted in images, so that it does not depend on the batch size."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.config import EMAConfig


def ema_decay(
    config: EMAConfig, batch: int, images: jax.Array, half_life_kimg: float | jax.Array | None = None
) -> jax.Array:
    """The decay beta = 0.5^(batch / half-life) `[]`; the half-life is at most `rampup` times the images shown so far.

    Args:
      config: half-life and its ramp-up.
      batch: images between two updates of the average.
      images: `[]` shown so far.
      half_life_kimg: half-life; None = the configuration's.
    """
    half_life_kimg = config.half_life_kimg if half_life_kimg is None else half_life_kimg
    half_life = jnp.asarray(half_life_kimg * 1000, jnp.float32)
    if config.rampup is not None:
        half_life = jnp.minimum(half_life, images.astype(jnp.float32) * config.rampup)
    return 0.5 ** (batch / jnp.maximum(half_life, 1e-8))


def lerp(average: Any, value: Any, decay: jax.Array) -> Any:
    """Moves an average towards a value: e + (1 - beta)(p - e), in which a constant leaf stays bit-exact."""
    return jax.tree_util.tree_map(lambda e, p: e + (1 - decay) * (p - e), average, value)
