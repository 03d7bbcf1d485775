"""The source of `config.py`: a WGAN-GP of 64 px on ImageNet, trained here, since none is published in a readable layout."""

from __future__ import annotations

from gan_jax.config import (
    CheckpointConfig,
    Config,
    DataConfig,
    EvalConfig,
    LossConfig,
    OptimConfig,
    ResNetConfig,
    TrainConfig,
)

NET = ResNetConfig(resolution=64, channels=3, z_dim=128, channel_base=32768, channel_max=512)


def config() -> Config:
    """WGAN-GP's own settings: Adam 1e-4 with betas 0 and 0.9, five updates of D, batches of 64."""
    return Config(
        data=DataConfig(source="folder:data/imagenet-64", pipeline="grain"),
        net=NET,
        loss=LossConfig("wasserstein", gp_lambda=10.0),
        optim=OptimConfig(lr=1e-4, b1=0.0, b2=0.9),
        train=TrainConfig(kimg=64_000.0, batch=64, d_steps=5),
        checkpoint=CheckpointConfig(every_kimg=1000.0),
        evaluate=EvalConfig(features=None),
    )
