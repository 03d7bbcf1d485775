"""Freeze-D (Mo, Cho, Shin, CVPR-W 2020): FFHQ to one animal of AnimalFace, about 100 images."""

from __future__ import annotations

import dataclasses

from gan_jax.config import Config, DataConfig, FreezeDConfig
from gan_jax.presets.few_shot import few_shot


def config() -> Config:
    """50,000 updates in batches of 8, R1 in every update; the first layer and four blocks frozen."""
    base = few_shot(50_000, batch=8)
    return dataclasses.replace(
        base,
        data=DataConfig(source="folder:data/animalface/cat", pipeline="device"),
        loss=dataclasses.replace(base.loss, penalty_interval=1, path_length=0.0),
        transfer=FreezeDConfig(source="runs/ffhq256", blocks=4),
    )
