"""StyleGAN-NADA (Gal et al., SIGGRAPH 2022): FFHQ from photo to sketch, by words; needs an encoder, see README."""

from __future__ import annotations

import dataclasses

from gan_jax.config import Config, LossConfig, NADAConfig
from gan_jax.presets.few_shot import few_shot


def config() -> Config:
    """300 updates without an adversarial loss; one layer trains at a time."""
    return dataclasses.replace(
        few_shot(300),
        loss=LossConfig("non_saturating"),
        transfer=NADAConfig(source="runs/ffhq256", clip="clip", source_text="photo", target_text="sketch"),
    )
