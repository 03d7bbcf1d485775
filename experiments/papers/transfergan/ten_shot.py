"""TransferGAN, which is fine-tuning of both networks, as the tables of CDC and AdAM have it: FFHQ to ten images."""

from __future__ import annotations

from gan_jax.config import Config
from gan_jax.presets.few_shot import few_shot


def config() -> Config:
    """CDC's recipe unchanged; the rows with ADA add `--augment.ada bgc`."""
    return few_shot()
