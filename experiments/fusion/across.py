"""A ResNet of low digits and a DCGAN of high ones into one ResNet of all: donors of different architectures, by role."""

from __future__ import annotations

import dataclasses

from config import DIGITS, KIMG, LOW, ablations, methods
from donor import NET

from gan_jax.config import MethodConfig
from gan_jax.transfer.benchmark import BenchmarkConfig
from gan_jax.transfer.recipes import short

DCGAN = "runs/fusion/high_dcgan"
NAMES = ("finetune", "uniform", "gradient", "attention_free", "distillation")


def config() -> BenchmarkConfig:
    """What of the DCGAN has no place in a ResNet is left out; the plan of `gan-jax fuse` lists it."""
    return BenchmarkConfig(
        title="A ResNet and a DCGAN of disjoint digits: one ResNet of all of them",
        base=short(NET, kimg=KIMG, features="lenet-mnist"),
        sources={"low": LOW},
        targets={"digits": DIGITS},
        methods=chosen((DCGAN,)),
        seeds=(0, 1, 2),
        baseline="finetune",
    )


def chosen(donors: tuple[str, ...]) -> dict[str, MethodConfig]:
    """Some of the methods, which take what fits."""
    every: dict[str, MethodConfig] = methods(donors) | ablations(donors)
    return {name: dataclasses.replace(every[name], unused="drop") for name in NAMES}
