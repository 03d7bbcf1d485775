"""A foreign and an own pair into a pair of another script: an imported MLP of MNIST, and ours of clothing."""

from __future__ import annotations

from fusions import on_kuzushiji, what_fits

from gan_jax.config import MLPConfig
from gan_jax.transfer.benchmark import BenchmarkConfig

FOREIGN, OURS = "runs/fusion/mnist_mlp", "runs/fusion/clothing_mlp"


def config() -> BenchmarkConfig:
    """Every method begins with the imported pair; the donor is ours, of the same widths."""
    net = MLPConfig(resolution=28, channels=1)
    return on_kuzushiji(
        "An imported MLP of digits and one of clothing: a pair of Kuzushiji", net, FOREIGN, what_fits((OURS,))
    )
