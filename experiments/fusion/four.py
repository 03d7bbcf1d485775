"""Four donors of two or three digits each into one pair of all digits: 100 images, three seeds."""

from __future__ import annotations

from fusions import MAIN, merges, methods, on_digits

from gan_jax.transfer.benchmark import BenchmarkConfig

SOURCE = "runs/fusion/d01"  # by donor.py with --train.kimg 48, as the donors below
DONORS = ("runs/fusion/d234", "runs/fusion/d56", "runs/fusion/d789")


def config() -> BenchmarkConfig:
    """Every method begins with the donor of 0 and 1."""
    every = {name: methods(DONORS)[name] for name in MAIN} | {"best": merges(DONORS)["best"]}
    return on_digits("Four donors of disjoint digits: one pair of all of them", SOURCE, every)
