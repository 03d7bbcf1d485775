"""The source of `mnist.py`: a pair of 32 px on all of MNIST's training images."""

from __future__ import annotations

import os

from mnist import NET

from gan_jax.config import (
    CheckpointConfig,
    Config,
    DataConfig,
    EMAConfig,
    EvalConfig,
    LossConfig,
    OptimConfig,
    TrainConfig,
)


def config() -> Config:
    """Hinge loss, Adam 4e-4 (0, 0.9), batch 32: the recipe of experiments/growth, for longer."""
    folder = os.environ.get("GAN_JAX_DATA", "data")
    return Config(
        data=DataConfig(source=f"idx:{folder}/mnist"),
        net=NET,
        loss=LossConfig(name="hinge"),
        optim=OptimConfig(lr=4e-4, b1=0.0, b2=0.9),
        ema=EMAConfig(half_life_kimg=10.0),
        train=TrainConfig(kimg=400.0, batch=32),
        checkpoint=CheckpointConfig(every_kimg=50.0),
        evaluate=EvalConfig(every_kimg=50.0),
    )
