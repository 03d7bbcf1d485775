"""A chain of several methods; the rules of combining are in `transfer.chain`."""

from __future__ import annotations

from gan_jax.config import ChainConfig
from gan_jax.nets import Networks
from gan_jax.transfer.chain import chain
from gan_jax.transfer.method import Method


def make(config: ChainConfig, nets: Networks) -> Method:
    """The methods of `transfer.methods` as one.

    Raises:
      ConfigError: what each of them raises; two that cannot be combined.
    """
    from gan_jax.transfer.methods import make_method

    return chain(*(make_method(part, nets) for part in config.parts))
