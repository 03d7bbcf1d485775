"""A ResNet of low digits and a DCGAN of high ones into one ResNet of all digits: donors of different architectures."""

from __future__ import annotations

from fusions import LOW, on_digits, what_fits

from gan_jax.transfer.benchmark import BenchmarkConfig

DCGAN = "runs/fusion/high_dcgan"


def config() -> BenchmarkConfig:
    """Leaves of the DCGAN without a place in a ResNet are dropped; the plan of `gan-jax fuse` lists them."""
    return on_digits("A ResNet and a DCGAN of disjoint digits: one ResNet of all of them", LOW, what_fits((DCGAN,)))
