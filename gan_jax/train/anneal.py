"""Annealing of values during a run, along half a cosine."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gan_jax.config import AnnealConfig


def annealed(config: AnnealConfig, name: str, start: float, images: jax.Array) -> float | jax.Array:
    """Anneals a value: `[]` float32 after `images` images, or `start` itself where the value is not annealed.

    end + (start - end) (1 + cos(pi t)) / 2, where t is the fraction of `config.kimg` shown, at most 1.

    Args:
      config: length of the annealing, and the end of each value.
      name: field of `config` with the end of the value.
      start: value at the beginning.
      images: `[]` real images shown to D.
    """
    end = getattr(config, name)
    if end is None or config.kimg == 0:
        return start
    return cosine(start, end, config.kimg, images)


def cosine(start: float, end: float, kimg: float, images: jax.Array | int) -> jax.Array:
    """Interpolates from `start` to `end` along half a cosine of `kimg` thousand images: `[]` float32."""
    t = jnp.minimum(jnp.asarray(images, jnp.float32) / (kimg * 1000), 1)
    return end + (start - end) * (1 + jnp.cos(jnp.pi * t)) / 2
