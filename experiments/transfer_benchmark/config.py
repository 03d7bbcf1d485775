"""Clothing to boots (near) and to Kuzushiji (far) at 16 px: every method, 10 and 100 images, four seeds; for two CPU cores."""

from __future__ import annotations

from recipe import base, methods

from gan_jax.config import DataConfig, ResNetConfig
from gan_jax.transfer.benchmark import BenchmarkConfig, Target

KMNIST = "npz:$GAN_JAX_DATA/kmnist-test/kmnist-test-imgs.npz"  # the test split; labels are not used


def config() -> BenchmarkConfig:
    """The pair was trained without boots and on nothing like Kuzushiji; 5,120 images are 320 steps."""
    return BenchmarkConfig(
        title="Eight kinds of clothing to boots, and to Kuzushiji characters",
        base=base(ResNetConfig(resolution=16, channels=1, z_dim=64, channel_base=1024, channel_max=24), kimg=5.12),
        sources={"fashion16": "embedded:fashion16"},
        targets={
            "boot": Target(DataConfig(source="embedded:fashion-mnist", classes=(9,), reference=600), "near"),
            "kmnist": Target(DataConfig(source=KMNIST, reference=2000), "far"),
        },
        methods=methods(),
        shots=(10, 100),
        seeds=(0, 1, 2, 3),
    )
