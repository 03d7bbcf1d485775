"""The main methods of config.py with twice the images: lessons of three quarters of 20,480, five seeds."""

from __future__ import annotations

import dataclasses

import config as short

from gan_jax.config import MethodConfig
from gan_jax.transfer.benchmark import BenchmarkConfig


def config() -> BenchmarkConfig:
    """Stages keep their part of the budget."""
    base = short.config()
    train = dataclasses.replace(base.base.train, kimg=2 * short.KIMG)
    evaluate = dataclasses.replace(base.base.evaluate, every_kimg=2 * short.KIMG / 5)
    return dataclasses.replace(
        base,
        title="Two donors of disjoint digits, twice the images",
        base=dataclasses.replace(base.base, train=train, evaluate=evaluate),
        methods={name: longer(base.methods[name]) for name in short.MAIN},
    )


def longer(method: MethodConfig) -> MethodConfig:
    """Twice as much of every stage."""
    stages = ("fuse_kimg", "distil_kimg")
    return dataclasses.replace(method, **{name: 2 * getattr(method, name) for name in stages if hasattr(method, name)})
