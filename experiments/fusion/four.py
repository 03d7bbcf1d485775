"""Four donors of two or three digits each into one pair of all digits: 100 images, three seeds."""

from __future__ import annotations

from config import DIGITS, KIMG, MAIN, methods
from donor import NET

from gan_jax.transfer.benchmark import BenchmarkConfig
from gan_jax.transfer.recipes import short

SOURCE = "runs/fusion/d01"  # what donor.py leaves with --train.kimg 48, as the others
DONORS = ("runs/fusion/d234", "runs/fusion/d56", "runs/fusion/d789")


def config() -> BenchmarkConfig:
    """Every method begins with the donor of 0 and 1."""
    return BenchmarkConfig(
        title="Four donors of disjoint digits: one pair of all of them",
        base=short(NET, kimg=KIMG, features="lenet-mnist"),
        sources={"d01": SOURCE},
        targets={"digits": DIGITS},
        methods={name: methods(DONORS)[name] for name in MAIN},
        seeds=(0, 1, 2),
        baseline="finetune",
    )
