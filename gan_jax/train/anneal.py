"""Values that move to where they end while a run goes on, along half a cosine."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gan_jax.config import AnnealConfig


def annealed(config: AnnealConfig, name: str, start: float, images: jax.Array) -> float | jax.Array:
    """What a value is after so many images: `start` itself where it is not annealed, `[]` float32 where it is.

    end + (start - end) (1 + cos(pi t)) / 2, with t the share of `config.kimg` that has been shown, at most 1.

    Args:
      config: how long, and where values end.
      name: of the field of `config` with the value's end.
      start: where it begins.
      images: `[]` real images shown to D.
    """
    end = getattr(config, name)
    if end is None or config.kimg == 0:
        return start
    return cosine(start, end, config.kimg, images)


def cosine(start: float, end: float, kimg: float, images: jax.Array | int) -> jax.Array:
    """`[]` float32 from `start` to `end` along half a cosine, after so many of `kimg` thousand images."""
    t = jnp.minimum(jnp.asarray(images, jnp.float32) / (kimg * 1000), 1)
    return end + (start - end) * (1 + jnp.cos(jnp.pi * t)) / 2
