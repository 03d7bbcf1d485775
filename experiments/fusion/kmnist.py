"""The two donors of digits into a pair of another script: 100 images of Kuzushiji, three seeds."""

from __future__ import annotations

from config import HIGH, KIMG, LOW, MAIN, methods
from donor import NET

from gan_jax.config import DataConfig
from gan_jax.transfer.benchmark import BenchmarkConfig, Target
from gan_jax.transfer.recipes import short


def config() -> BenchmarkConfig:
    """The main methods, measured through the network that knows clothing."""
    return BenchmarkConfig(
        title="Two donors of digits: a pair of Kuzushiji",
        base=short(NET, kimg=KIMG),
        sources={"low": LOW},
        targets={
            "kmnist": Target(
                DataConfig(source="npz:$GAN_JAX_DATA/kmnist-test/kmnist-test-imgs.npz", reference=5000), "far"
            )
        },
        methods={name: methods((HIGH,))[name] for name in MAIN},
        seeds=(0, 1, 2),
        baseline="finetune",
    )
