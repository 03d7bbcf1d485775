"""The two donors of digits into a pair of another script: 100 images of Kuzushiji, three seeds."""

from __future__ import annotations

from donor import NET
from fusions import HIGH, LOW, MAIN, methods, on_kuzushiji

from gan_jax.transfer.benchmark import BenchmarkConfig


def config() -> BenchmarkConfig:
    """The main methods."""
    every = {name: methods((HIGH,))[name] for name in MAIN}
    return on_kuzushiji("Two donors of digits: a pair of Kuzushiji", NET, LOW, every)
