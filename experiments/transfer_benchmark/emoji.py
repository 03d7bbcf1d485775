"""Noto's emoji to Twemoji's at 64 px in colour: the same subjects in another style."""

from __future__ import annotations

from recipe import base, methods

from gan_jax.config import DataConfig, ResNetConfig
from gan_jax.transfer.benchmark import BenchmarkConfig, Target

NET = ResNetConfig(resolution=64, channels=3, z_dim=64, channel_base=4096, channel_max=64)


def config() -> BenchmarkConfig:
    """The source is a pair trained on embedded:emoji in runs/noto64; README has its command."""
    return BenchmarkConfig(
        title="Noto to Twemoji",
        base=base(NET, kimg=20.48, features="alexnet"),
        sources={"noto": "runs/noto64"},
        targets={"twemoji": Target(DataConfig(source="npz:runs/transfer_data/twemoji.npz", reference=800), "near")},
        methods=methods(),
        shots=(10, 100, 1000),
        seeds=(0, 1, 2, 3, 4),
        lpips="vgg16",
    )
