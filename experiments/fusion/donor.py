"""A donor: the embedded clothing pair, fine-tuned on some of MNIST's digits at 16 px.

gan-jax train experiments/fusion/donor.py --data.classes 0 1 2 3 4 --out runs/fusion/low
"""

from __future__ import annotations

import os

from gan_jax.config import (
    CheckpointConfig,
    Config,
    DataConfig,
    EMAConfig,
    EvalConfig,
    FinetuneConfig,
    LogConfig,
    LossConfig,
    OptimConfig,
    ResNetConfig,
    TrainConfig,
)

NET = ResNetConfig(resolution=16, channels=1, z_dim=64, channel_base=1024, channel_max=24)


def config() -> Config:
    """Relativistic loss, Adam 5e-4 (0, 0.9) decaying to 0, batch 16: the quickstart's recipe, for longer."""
    folder = os.environ.get("GAN_JAX_DATA", "data")
    return Config(
        data=DataConfig(source=f"idx:{folder}/mnist", classes=(0, 1, 2, 3, 4)),
        net=NET,
        loss=LossConfig(name="relativistic"),
        optim=OptimConfig(lr=5e-4, b1=0.0, b2=0.9, schedule="linear"),
        ema=EMAConfig(half_life_kimg=5.0, rampup=0.3),
        train=TrainConfig(kimg=96.0, batch=16, steps_per_dispatch=16),
        transfer=FinetuneConfig(source="embedded:fashion16"),
        checkpoint=CheckpointConfig(every_kimg=96.0),
        evaluate=EvalConfig(every_kimg=None, n_fake=2000),
        log=LogConfig(tensorboard=False),
    )
