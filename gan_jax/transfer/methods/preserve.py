"""Preservation of images: G is held to what it made of the same latents at the start.

G's loss has the term `strength * mean |G(z) - G_start(z)|`. With `give_way` its gradient gives way to the adversarial one
where the two conflict (PCGrad; Yu et al., NeurIPS 2020).

The start is what the preparation leaves. Behind a fusion or a merge in a chain (`--method merge preserve`) it is the G that
the donors were made into, and what it has of each of them is preserved.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gan_jax.config import ConfigError, PreserveConfig
from gan_jax.nets import Networks
from gan_jax.train.context import StepContext
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Extras, Regulariser
from gan_jax.transfer.method import Method, networks_of


def make(config: PreserveConfig, nets: Networks) -> Method:
    """Everything is trained; G is held to the images of its start.

    Raises:
      ConfigError: G would be fresh.
    """
    if "g" not in networks_of(config.networks):
        raise ConfigError("transfer.networks d leaves a fresh G, whose images are worth nothing; use both or g")
    return Method(
        starts=tuple(networks_of(config.networks)),
        constants=lambda nets: {"g": nets["g"]},
        extension=Extension(regularisers=(preserved(config.strength, config.give_way),)),
    )


def preserved(strength: float, give_way: bool, constant: str = "g") -> Regulariser:
    """The term: L1 between G's images and those of the variables `ctx.constants[constant]`, mean over values."""

    def value(ctx: StepContext) -> tuple[jax.Array, Extras]:
        images, _ = ctx.task.generate(ctx.constants[constant], ctx.batch, ctx.latent_keys, True)
        return strength * jnp.abs(ctx.fake - images).mean(), {}

    return Regulariser("preserved", "g", value, projected=give_way)
