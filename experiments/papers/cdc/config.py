"""CDC (Ojha et al., CVPR 2021): FFHQ to ten images."""

from __future__ import annotations

import dataclasses

from gan_jax.config import CDCConfig, Config
from gan_jax.presets.few_shot import few_shot


def config() -> Config:
    """5,002 updates; patches get their logits from D's maps of 32 px."""
    return dataclasses.replace(few_shot(), transfer=CDCConfig(source="runs/ffhq256", patch_px=32))
