"""A ResNet of low digits and a DCGAN of high ones into one ResNet of all: donors of different architectures, by role."""

from __future__ import annotations

from fusions import LOW, on_digits, what_fits

from gan_jax.transfer.benchmark import BenchmarkConfig

DCGAN = "runs/fusion/high_dcgan"


def config() -> BenchmarkConfig:
    """What of the DCGAN has no place in a ResNet is left out; the plan of `gan-jax fuse` lists it."""
    return on_digits("A ResNet and a DCGAN of disjoint digits: one ResNet of all of them", LOW, what_fits((DCGAN,)))
