"""Freeze-D (Mo, Cho, Shin, CVPR-W 2020): fine-tuning with D's image-side layers frozen."""

from __future__ import annotations

from gan_jax.config import ConfigError, FreezeDConfig
from gan_jax.nets import Pair
from gan_jax.transfer.method import Method, networks_of


def freeze_d(config: FreezeDConfig, pair: Pair) -> Method:
    """`from_rgb` and the `blocks` blocks next to the image keep their weights.

    Raises:
      ConfigError: no block of D would be left to train.
    """
    stem, *blocks = pair.d_blocks
    if config.blocks >= len(blocks):
        raise ConfigError(
            f"transfer.blocks is {config.blocks}, but D has {len(blocks)} ({', '.join(blocks)}): "
            f"freeze at most {len(blocks) - 1}"
        )
    frozen = (stem, *blocks[: config.blocks])
    norms = tuple(f"norm{name[1:]}" for name in frozen[1:])  # DCGAN keeps a block's norm beside it
    return Method(
        starts=tuple(networks_of(config.networks)),
        frozen=tuple(f"d/params/{name}/**" for name in (*frozen, *norms)),
    )
