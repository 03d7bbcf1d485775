"""What networks read: latents, images of a batch or label maps for a generator; one image or two joined for a discriminator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from gan_jax.config import SPADEConfig
from gan_jax.nets import Networks
from gan_jax.nets.spade import semantics
from gan_jax.tasks.image import draw_latents
from gan_jax.tasks.translation import joined
from gan_jax.train.context import Batch

Read = Callable[[Batch, jax.Array], jax.Array]  # (batch, keys [B]) -> x [B, ...]


def reader(nets: Networks, name: str) -> Read:
    """Makes what gives a generator its input: latents drawn by the keys, or the images of a batch that it translates.

    Args:
      nets: the networks of a task.
      name: of the generator.
    """
    config: Any = nets.config
    if name not in nets.reads and not config.translates:
        return lambda batch, keys: draw_latents(keys, config.z_dim)
    entry = nets.reads.get(name, "input")
    if isinstance(config, SPADEConfig):
        return lambda batch, keys: semantics(config, batch[entry], batch.get("instance"))
    return lambda batch, keys: batch[entry]


def judged(nets: Networks, x: jax.Array, images: jax.Array) -> jax.Array:
    """The input of the discriminator that judges images made from x: with `d_condition`, both of them."""
    config: Any = nets.config
    return joined(x, images, config.translates and config.d_condition)
