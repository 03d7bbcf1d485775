"""Ready configurations: a short run, and the few-shot transfer of the demo and the quickstart experiment."""

from __future__ import annotations

import dataclasses
from typing import Literal

from gan_jax.config import (
    AugmentConfig,
    CheckpointConfig,
    Config,
    DataConfig,
    EMAConfig,
    EvalConfig,
    FinetuneConfig,
    LogConfig,
    LossConfig,
    NetConfig,
    OptimConfig,
    ResNetConfig,
    ScratchConfig,
    TrainConfig,
)

Target = Literal["boot", "coat", "emoji"]

TARGETS: dict[Target, tuple[DataConfig, int]] = {  # data, image channels
    "boot": (DataConfig(source="embedded:fashion-mnist", classes=(9,), shots=100), 1),
    "coat": (DataConfig(source="embedded:fashion-mnist", classes=(4,), shots=100), 1),
    "emoji": (DataConfig(source="embedded:emoji", shots=100), 3),
}

SOURCE = "embedded:fashion16"  # 16 px, 24 channels, grey; never saw coats, ankle boots or emoji


def short(net: NetConfig, kimg: float, batch: int = 16, features: str = "fashion-v1", n_fake: int = 1000) -> Config:
    """A run that takes minutes: relativistic loss, translation, Adam 5e-4 decaying to 0; five evaluations.

    Args:
      net: configuration of the networks.
      kimg: real images shown to D, thousands.
      batch: images in a batch.
      features: name of the feature network of evaluations.
      n_fake: samples in an evaluation.
    """
    return Config(
        net=net,
        loss=LossConfig(name="relativistic"),
        augment=AugmentConfig(policy=("translation",)),
        optim=OptimConfig(lr=5e-4, b1=0.0, b2=0.9, schedule="linear"),
        ema=EMAConfig(half_life_kimg=1.0, rampup=0.3),
        train=TrainConfig(kimg=kimg, batch=batch, steps_per_dispatch=16),
        evaluate=EvalConfig(every_kimg=kimg / 5, n_fake=n_fake, stats_batches=8, features=features),
        log=LogConfig(tensorboard=False),
    )


def few_shot(target: Target, *, transfer: bool, seed: int = 0, kimg: float = 8.192) -> Config:
    """A few-shot transfer to 100 images of a target, with a wider pair at twice the source's resolution, for two CPU cores.

    Args:
      target: name of the target's data.
      transfer: whether to start from the source pair or from fresh weights; nothing else differs.
      seed: of weights, latents and the choice of the 100 images.
      kimg: real images shown to D, thousands.
    """
    data, channels = TARGETS[target]
    base = short(ResNetConfig(resolution=32, channels=channels, z_dim=64, channel_base=1024, channel_max=32), kimg)
    return dataclasses.replace(
        base,
        data=dataclasses.replace(data, subset_seed=seed),
        train=dataclasses.replace(base.train, seed=seed),
        transfer=FinetuneConfig(source=SOURCE) if transfer else ScratchConfig(),
        checkpoint=CheckpointConfig(every_kimg=None),
        evaluate=dataclasses.replace(base.evaluate, every_kimg=2.048),
    )
