"""RICK (Zhao et al., CVPR 2023): FFHQ to ten images, near; far targets need options, see README."""

from __future__ import annotations

import dataclasses

from gan_jax.config import Config, RICKConfig
from gan_jax.presets.few_shot import few_shot


def config() -> Config:
    """1,750 updates in batches of 2, the first 250 of D's head alone; an estimate every 50 from 5 batches."""
    return dataclasses.replace(few_shot(1750, batch=2), transfer=RICKConfig(source="runs/ffhq256", warmup_kimg=0.5))
