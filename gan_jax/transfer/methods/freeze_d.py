"""Freeze-D (Mo, Cho, Shin, CVPR-W 2020): fine-tuning with D's image-side layers frozen."""

from __future__ import annotations

from gan_jax.config import FreezeDConfig
from gan_jax.nets import Networks
from gan_jax.transfer.layers import image_side
from gan_jax.transfer.method import Method, networks_of


def make(config: FreezeDConfig, nets: Networks) -> Method:
    """D's first layer, such as `from_rgb`, and the `blocks` blocks next to the image are frozen.

    Raises:
      ConfigError: no block of D would be left to train.
    """
    return Method(starts=tuple(networks_of(config.networks, nets)), frozen=image_side(nets, config.blocks))
