"""What a network pays beside the game: a file for each kind, and the table that the step reads."""

from __future__ import annotations

import jax.numpy as jnp

from gan_jax.config import LossConfig
from gan_jax.train.regularisers.consistency import BCR, ZCR_D, ZCR_G
from gan_jax.train.regularisers.gradient_penalty import GRADIENT_PENALTY
from gan_jax.train.regularisers.lecam import LECAM
from gan_jax.train.regularisers.orthogonal import ORTHOGONAL_D, ORTHOGONAL_G
from gan_jax.train.regularisers.path_length import PATH_LENGTH
from gan_jax.train.regularisers.regulariser import Extras, Network, Regulariser

REGULARISERS = (GRADIENT_PENALTY, LECAM, BCR, ZCR_D, ORTHOGONAL_D, PATH_LENGTH, ZCR_G, ORTHOGONAL_G)


def wanted(loss: LossConfig, network: Network) -> list[Regulariser]:
    """The regularisers of a network in a configuration."""
    return [one for one in REGULARISERS if one.network == network and one.wanted(loss)]


def init_extras(loss: LossConfig) -> Extras:
    """The running values that a configuration's regularisers keep, at the start."""
    kept = [name for network in ("g", "d") for one in wanted(loss, network) for name in one.extras]
    return {name: jnp.zeros((), jnp.float32) for name in kept}
