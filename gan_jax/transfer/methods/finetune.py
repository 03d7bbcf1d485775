"""Fine-tuning (TransferGAN; Wang et al., ECCV 2018): copy G and D, or one of them, and train everything.

A fresh D destroys a pretrained G within a few hundred steps, so with G alone D is warmed up first
(`transfer.d_warmup_kimg`).
"""

from __future__ import annotations

from gan_jax.config import FinetuneConfig
from gan_jax.nets import Networks
from gan_jax.transfer.method import Method, networks_of


def make(config: FinetuneConfig, nets: Networks) -> Method:
    """The networks of `config.networks` start from the source, everything is trained."""
    return Method(starts=tuple(networks_of(config.networks, nets)))
