"""Freeze-G: fine-tuning with G's latent-side layers frozen, which control shape and pose, not texture.

Published as code with Freeze-D, without a paper. In StyleGAN2 the first of these layers is the mapping network.
"""

from __future__ import annotations

from gan_jax.config import FreezeGConfig
from gan_jax.nets import Networks
from gan_jax.transfer.layers import latent_side
from gan_jax.transfer.method import Method, networks_of


def make(config: FreezeGConfig, nets: Networks) -> Method:
    """The first `blocks` layers of G (`pair.g_blocks`) are frozen; all of D is trained.

    Raises:
      ConfigError: no block of G would be left to train.
    """
    return Method(starts=tuple(networks_of(config.networks, nets)), frozen=latent_side(nets, config.blocks))
