"""Automobiles to trucks (near) and to cats (far), CIFAR-10 at 32 px in colour: all methods, 10 and 100 shots."""

from __future__ import annotations

from recipe import base, methods

from gan_jax.config import DataConfig, ResNetConfig
from gan_jax.transfer.benchmark import BenchmarkConfig, Target

NET = ResNetConfig(resolution=32, channels=3, z_dim=64, channel_base=4096, channel_max=128)
IMAGES = "npz:runs/transfer_data/cifar.npz"  # images and labels 0 .. 9; or tfds:cifar10, with larger references


def config() -> BenchmarkConfig:
    """The source is a pair trained on class 1 in runs/cifar_auto; README has its command."""
    return BenchmarkConfig(
        title="Automobiles to trucks, and to cats",
        base=base(NET, kimg=20.48, features="alexnet"),
        sources={"automobile": "runs/cifar_auto"},
        targets={
            "truck": Target(DataConfig(source=IMAGES, classes=(9,), reference=260), "near"),
            "cat": Target(DataConfig(source=IMAGES, classes=(3,), reference=260), "far"),
        },
        methods=methods(),
        shots=(10, 100),
        seeds=(0, 1, 2, 3, 4),
        lpips="vgg16",
    )
