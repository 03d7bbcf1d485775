"""Freeze-D as the tables of CDC and AdAM have it: FFHQ to ten images."""

from __future__ import annotations

import dataclasses

from gan_jax.config import Config, FreezeDConfig
from gan_jax.presets.few_shot import few_shot


def config() -> Config:
    """CDC's recipe, D's first layer and four blocks frozen."""
    return dataclasses.replace(few_shot(), transfer=FreezeDConfig(source="runs/ffhq256", blocks=4))
