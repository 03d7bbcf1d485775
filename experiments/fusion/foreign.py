"""An imported generator and one of ours into a pair of another script: the MLP of MNIST from elsewhere, ours of clothing."""

from __future__ import annotations

from across import chosen
from config import KIMG

from gan_jax.config import DataConfig, MLPConfig
from gan_jax.transfer.benchmark import BenchmarkConfig, Target
from gan_jax.transfer.recipes import short

FOREIGN, OURS = "runs/fusion/mnist_mlp", "runs/fusion/clothing_mlp"


def config() -> BenchmarkConfig:
    """Begins with the imported pair; ours of the same widths stands beside it."""
    return BenchmarkConfig(
        title="An imported MLP of digits and one of clothing: a pair of Kuzushiji",
        base=short(MLPConfig(resolution=28, channels=1), kimg=KIMG),
        sources={"mnist_mlp": FOREIGN},
        targets={
            "kmnist": Target(
                DataConfig(source="npz:$GAN_JAX_DATA/kmnist-test/kmnist-test-imgs.npz", reference=5000), "far"
            )
        },
        methods=chosen((OURS,)),
        seeds=(0, 1, 2),
        baseline="finetune",
    )
