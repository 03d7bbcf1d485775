"""Feature distillation (a baseline of Freeze-D's paper; Mo, Cho, Shin, 2020): D's features stay near the source's.

D's loss term is `strength * mean over blocks of mean |phi(D(x)) - phi(D_source(x))|^2`, half of it on real and half on
generated images, as D sees them. Blocks are those of `Pair.d_blocks`; D's features are those of the step's own forward
pass. The source's D is applied in training mode too (statistics of the batch, a power iteration), with the collections of
the source, so that the term is 0 at the start.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gan_jax.config import ConfigError, FeatureDistillationConfig
from gan_jax.nets import Pair
from gan_jax.train.context import StepContext
from gan_jax.train.extension import Extension
from gan_jax.train.optim import cosine
from gan_jax.train.regularisers import Extras, Regulariser
from gan_jax.train.state import Networks
from gan_jax.transfer.method import Method, networks_of
from gan_jax.trees import Tree


def make(config: FeatureDistillationConfig, pair: Pair) -> Method:
    """Everything is trained; a loss term keeps D's features near those of the source's D.

    Raises:
      ConfigError: D would be fresh.
    """
    if config.networks == "g":
        raise ConfigError("transfer.networks g leaves a fresh D, which has no features to preserve; use both or d")

    def value(ctx: StepContext) -> tuple[jax.Array, Extras]:
        strength = config.strength
        if config.anneal_kimg is not None:
            strength = cosine(strength, 0.0, config.anneal_kimg, ctx.images)
        return strength * distance(ctx), {}

    def constants(nets: Networks) -> dict[str, Tree]:
        return {"d": nets["d"]}

    extension = Extension(regularisers=(Regulariser("distillation", "d", value),), capture=pair.d_blocks)
    return Method(starts=tuple(networks_of(config.networks)), constants=constants, extension=extension)


def distance(ctx: StepContext) -> jax.Array:
    """The mean over sides and blocks of the mean squared difference of D's features from those of its start: `[]`."""
    assert ctx.intermediates is not None
    *outputs, _ = ctx.with_nets(d=ctx.constants["d"]).discriminate(ctx.x_real, ctx.x_fake)
    pairs = [
        (now[block], old.intermediates[block])
        for now, old in zip(ctx.intermediates, outputs, strict=True)
        for block in now
    ]
    return jnp.stack([jnp.square(now - old).mean() for now, old in pairs]).mean()
