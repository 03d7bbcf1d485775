"""No transfer: fresh weights. The baseline of every comparison."""

from __future__ import annotations

from gan_jax.config import ScratchConfig
from gan_jax.nets import Networks
from gan_jax.transfer.method import Method


def make(config: ScratchConfig, nets: Networks) -> Method:
    """Everything is fresh, everything is trained."""
    return Method()
