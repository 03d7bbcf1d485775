"""No transfer: fresh weights. The baseline of every comparison."""

from __future__ import annotations

from gan_jax.config import ScratchConfig
from gan_jax.nets import Pair
from gan_jax.transfer.method import Method


def make(config: ScratchConfig, pair: Pair) -> Method:
    """Everything is fresh, everything is trained."""
    return Method()
