"""BSA (Noguchi & Harada, ICCV 2019): FFHQ to ten images, as in CDC's table; no D, no adversarial loss."""

from __future__ import annotations

import dataclasses

from gan_jax.config import BSAConfig, Config, LossConfig, OptimConfig
from gan_jax.presets.few_shot import few_shot


def config() -> Config:
    """10,000 updates in batches of 5, as the paper's at 256 px."""
    return dataclasses.replace(
        few_shot(10_000, batch=5),
        loss=LossConfig("non_saturating"),
        optim=OptimConfig(lr=0.03, b1=0.9, b2=0.999, schedule="linear"),
        transfer=BSAConfig(source="runs/ffhq256", features="vgg16"),
    )
