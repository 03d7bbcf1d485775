"""The source of `cifar.py`: a pair of 32 px on the automobiles among the images that `prepare.py` makes."""

from __future__ import annotations

import dataclasses

from cifar import IMAGES, NET
from source_mnist import config as of_mnist

from gan_jax.config import AugmentConfig, Config, DataConfig, EvalConfig


def config() -> Config:
    """MNIST's recipe with mirrored images and translation, since there are only some hundred of them."""
    return dataclasses.replace(
        of_mnist(),
        data=DataConfig(source=IMAGES, classes=(1,), mirror=True),
        net=NET,
        augment=AugmentConfig(policy=("translation", "color")),
        evaluate=EvalConfig(every_kimg=50.0, features="alexnet"),
    )
