"""RSSA (Xiao et al., CVPR 2022): FFHQ to ten images."""

from __future__ import annotations

import dataclasses

from gan_jax.config import Config, RSSAConfig
from gan_jax.presets.few_shot import few_shot


def config() -> Config:
    """2,002 updates; anchors and patches as in CDC."""
    return dataclasses.replace(few_shot(2002), transfer=RSSAConfig(source="runs/ffhq256", patch_px=32))
