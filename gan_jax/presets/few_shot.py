"""Few-shot adaptation of a StyleGAN2 of 256 px: the recipe of CDC (Ojha et al., 2021) and of methods that build on it.

Networks and losses are those of rosinality's stylegan2-pytorch, which CDC, RSSA, AdAM and RICK use, so that the published
generators of that layout fit: 32768 / r channels and at most 512, a mapping of 8 layers. Batches of 4, the non-saturating
loss, R1 of 10 every 16 updates of D, path lengths every 4 of G, Adam 0.002 with betas 0 and 0.99. The half-life of its
average of G is 10,000 / 32 updates for every batch size, without ramp-up. CDC's code runs 5,002 updates; the comparisons in
`experiments/papers` have other lengths. No augmentation, no half precision.
"""

from __future__ import annotations

from collections.abc import Callable

from gan_jax.config import (
    Config,
    DataConfig,
    EMAConfig,
    EvalConfig,
    FinetuneConfig,
    LossConfig,
    OptimConfig,
    StyleGAN2Config,
    TrainConfig,
)


def few_shot(updates: int = 5002, batch: int = 4) -> Config:
    """Makes the recipe for a number of updates, of G and of D each, and a batch size."""
    return Config(
        data=DataConfig(source="folder:data/babies", pipeline="device"),
        net=StyleGAN2Config(resolution=256, mapping_layers=8, channel_base=32768),
        loss=LossConfig("non_saturating", r1_gamma=10.0, penalty_interval=16, path_length=2.0),
        optim=OptimConfig(lr=0.002, b1=0.0, b2=0.99),
        ema=EMAConfig(half_life_kimg=10 / 32 * batch, rampup=None),
        train=TrainConfig(kimg=updates * batch / 1000, batch=batch),
        transfer=FinetuneConfig(source="runs/ffhq256"),
        evaluate=EvalConfig(features=None),  # a reference needs more images
    )


PRESETS: dict[str, Callable[[], Config]] = {"stylegan2-few-shot-256": few_shot}
