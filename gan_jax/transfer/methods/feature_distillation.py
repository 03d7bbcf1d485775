"""Feature distillation (a baseline of Freeze-D's paper; Mo, Cho, Shin, 2020): D's features stay near the source's.

D pays `strength * mean over blocks of mean |phi(D(x)) - phi(D_source(x))|^2`, half of it on real images and half on
generated ones, as D sees them. Blocks are those of `Pair.d_blocks`, outputs those of the game's own pass. The
source's D makes its pass in training mode too (statistics of the batch, a power iteration) from the collections that it
came with, so that at the start the term is 0.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from gan_jax.config import ConfigError, FeatureDistillationConfig
from gan_jax.nets import Pair
from gan_jax.train.anneal import cosine
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Extras, Regulariser
from gan_jax.train.state import Variables
from gan_jax.train.turn import Turn
from gan_jax.transfer.method import Method, networks_of
from gan_jax.trees import Tree


def feature_distillation(config: FeatureDistillationConfig, pair: Pair) -> Method:
    """Everything is trained; D is held to what the source's D sees.

    Raises:
      ConfigError: D would be fresh.
    """
    if config.networks == "g":
        raise ConfigError("transfer.networks g leaves a fresh D, whose features are worth nothing; use both or d")

    def value(turn: Turn) -> tuple[jax.Array, Extras]:
        strength = config.strength
        if config.anneal_kimg is not None:
            strength = cosine(strength, 0.0, config.anneal_kimg, turn.images)
        return strength * distance(turn), {}

    def keep(g: Variables, d: Variables) -> dict[str, Tree]:
        return {"d": d}

    extension = Extension(terms=(Regulariser("distillation", "d", value),), looks=pair.d_blocks)
    return Method(starts=tuple(networks_of(config.networks)), keep=keep, extension=extension)


def distance(turn: Turn) -> jax.Array:
    """The mean over sides and blocks of the mean squared difference of D's features from those of the kept D: `[]`."""
    assert turn.inside is not None
    *then, _ = dataclasses.replace(turn, d=turn.kept["d"]).look(turn.seen, turn.made)
    pairs = [(now[block], old.inside[block]) for now, old in zip(turn.inside, then, strict=True) for block in now]
    return jnp.stack([jnp.square(now - old).mean() for now, old in pairs]).mean()
