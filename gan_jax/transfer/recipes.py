"""Ready configurations of the few-shot transfer that the demo and the quickstart experiment run."""

from __future__ import annotations

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


def few_shot(target: Target, *, transfer: bool, seed: int = 0, kimg: float = 8.192) -> Config:
    """100 images of a target, a wider pair at twice the source's resolution, a budget for two CPU cores.

    Args:
      target: what to adapt to.
      transfer: whether to start from the source pair, or from fresh weights; nothing else differs.
      seed: of weights, latents and the choice of the 100 images.
      kimg: real images shown to D, thousands.
    """
    data, channels = TARGETS[target]
    return Config(
        data=DataConfig(**{**vars(data), "subset_seed": seed}),
        net=ResNetConfig(resolution=32, channels=channels, z_dim=64, channel_base=1024, channel_max=32),
        loss=LossConfig(name="relativistic"),
        augment=AugmentConfig(policy=("translation",)),
        optim=OptimConfig(lr=5e-4, b1=0.0, b2=0.9, schedule="linear"),
        ema=EMAConfig(half_life_kimg=1.0, rampup=0.3),
        train=TrainConfig(kimg=kimg, batch=16, steps_per_dispatch=16, seed=seed),
        transfer=FinetuneConfig(source=SOURCE) if transfer else ScratchConfig(),
        checkpoint=CheckpointConfig(every_kimg=None),
        evaluate=EvalConfig(every_kimg=2.048, n_fake=1000, stats_batches=8),
        log=LogConfig(tensorboard=False),
    )
