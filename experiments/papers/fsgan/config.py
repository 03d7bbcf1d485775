"""FSGAN (Robb et al., 2020): FFHQ to few images, by singular values alone."""

from __future__ import annotations

import dataclasses

from gan_jax.config import Config, FSGANConfig
from gan_jax.presets.few_shot import few_shot


def config() -> Config:
    """30,000 images in batches of 16, mirrored."""
    base = few_shot(1875, batch=16)
    data = dataclasses.replace(base.data, mirror=True)
    return dataclasses.replace(base, data=data, transfer=FSGANConfig(source="runs/ffhq256"))
