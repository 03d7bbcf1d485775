"""The source of `emoji.py`: a pair of 64 px on the emoji inside the package."""

from __future__ import annotations

import dataclasses

from emoji import NET
from source_mnist import config as of_mnist

from gan_jax.config import AugmentConfig, Config, DataConfig, EvalConfig


def config() -> Config:
    """MNIST's recipe with translation."""
    return dataclasses.replace(
        of_mnist(),
        data=DataConfig(source="embedded:emoji"),
        net=NET,
        augment=AugmentConfig(policy=("translation",)),
        evaluate=EvalConfig(every_kimg=50.0, features="alexnet"),
    )
