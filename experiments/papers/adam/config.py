"""AdAM (Zhao et al., NeurIPS 2022): FFHQ to ten images, near; far targets need options, see README."""

from __future__ import annotations

import dataclasses

from gan_jax.config import AdAMConfig, Config
from gan_jax.presets.few_shot import few_shot


def config() -> Config:
    """500 updates of the probe, then 1,500; half of a group's filters are trained fully."""
    return dataclasses.replace(few_shot(2000), transfer=AdAMConfig(source="runs/ffhq256", quantile=50.0))
