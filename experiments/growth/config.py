"""A trained 32 px pair, and the pairs that it is grown into: a wider one, and one of 64 px.

    gan-jax train experiments/growth/config.py --out runs/growth/base

trains the 32 px pair; `run.py` in this folder does that, and all that follows.
"""

import dataclasses
from typing import Literal

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
    ScratchConfig,
    TrainConfig,
)

Target = Literal["wider", "64px"]

SMALL = ResNetConfig(resolution=32, channels=1, z_dim=64, channel_base=1024, channel_max=16)
NETS: dict[Target, ResNetConfig] = {
    "wider": dataclasses.replace(SMALL, channel_max=32),
    "64px": dataclasses.replace(SMALL, resolution=64),
}
KIMG: dict[Target, float] = {"wider": 16.384, "64px": 8.192}  # thousand images after growing: minutes on two cores


def config(source: str = "tfds:fashion_mnist:train") -> Config:
    """The pair that is grown: all ten classes, 150 thousand images."""
    return Config(
        data=DataConfig(source=source),
        net=SMALL,
        loss=LossConfig(name="hinge"),
        optim=OptimConfig(lr=4e-4, b1=0.0, b2=0.9),
        ema=EMAConfig(half_life_kimg=5.0),
        train=TrainConfig(kimg=150.0, batch=64, steps_per_dispatch=16),
        evaluate=EvalConfig(every_kimg=50.0, n_fake=2000),
        log=LogConfig(every_dispatches=4),
    )


def continued(base: Config, target: Target, *, weights: str | None, seed: int) -> Config:
    """The run after growing, or the same run from fresh weights.

    Args:
      base: of the 32 px pair; gives data, losses and step sizes.
      target: that it is grown into.
      weights: run folder of the 32 px pair; None = fresh weights.
      seed: of fresh values, latents and data order.
    """
    kimg = KIMG[target]
    return dataclasses.replace(
        base,
        net=NETS[target],
        ema=EMAConfig(half_life_kimg=1.0, rampup=0.3),
        train=TrainConfig(kimg=kimg, batch=32, steps_per_dispatch=8, seed=seed),
        transfer=ScratchConfig() if weights is None else FinetuneConfig(source=weights),
        checkpoint=CheckpointConfig(every_kimg=None),
        evaluate=EvalConfig(every_kimg=kimg / 8, n_fake=1000, stats_batches=8),
        log=LogConfig(tensorboard=False),
    )
