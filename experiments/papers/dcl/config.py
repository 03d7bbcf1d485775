"""DCL (Zhao et al., CVPR 2022): FFHQ to ten images."""

from __future__ import annotations

import dataclasses

from gan_jax.config import Config, DCLConfig
from gan_jax.presets.few_shot import few_shot


def config() -> Config:
    """CDC's recipe."""
    return dataclasses.replace(few_shot(), transfer=DCLConfig(source="runs/ffhq256"))
