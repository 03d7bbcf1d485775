"""MNIST to Kuzushiji and Omniglot (near), and to Fashion-MNIST (far) at 32 px: all methods, 10 to 1,000 shots."""

from __future__ import annotations

from recipe import base, methods

from gan_jax.config import DataConfig, ResNetConfig
from gan_jax.transfer.benchmark import BenchmarkConfig, Target

NET = ResNetConfig(resolution=32, channels=1, z_dim=64, channel_base=2048, channel_max=64)


def config() -> BenchmarkConfig:
    """The source is the pair of `source_mnist.py` in runs/mnist32; `prepare.py` makes Omniglot."""
    return BenchmarkConfig(
        title="MNIST to other hands, and to clothing",
        base=base(NET, kimg=20.48, n_fake=2000),
        sources={"mnist": "runs/mnist32"},
        targets={
            "kmnist": Target(
                DataConfig(source="npz:$GAN_JAX_DATA/kmnist-test/kmnist-test-imgs.npz", reference=5000), "near"
            ),
            "omniglot": Target(DataConfig(source="npz:runs/transfer_data/omniglot.npz", reference=2000), "near"),
            "fashion": Target(DataConfig(source="embedded:fashion-mnist", reference=5000), "far"),
        },
        methods=methods(),
        shots=(10, 100, 1000),
        seeds=(0, 1, 2, 3, 4),
    )
