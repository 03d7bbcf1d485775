"""The main methods of config.py with twice the images, five seeds."""

from __future__ import annotations

import dataclasses

from fusions import HIGH, KIMG, LOW, MAIN, methods, on_digits

from gan_jax.config import MethodConfig
from gan_jax.transfer.benchmark import BenchmarkConfig


def config() -> BenchmarkConfig:
    """Stages keep their fraction of the budget."""
    every = {name: longer(methods((HIGH,))[name]) for name in MAIN}
    return on_digits("Two donors of disjoint digits, twice the images", LOW, every, kimg=2 * KIMG, seeds=5)


def longer(method: MethodConfig) -> MethodConfig:
    """The method with stages twice as long."""
    stages = ("fuse_kimg", "distil_kimg")
    return dataclasses.replace(method, **{name: 2 * getattr(method, name) for name in stages if hasattr(method, name)})
