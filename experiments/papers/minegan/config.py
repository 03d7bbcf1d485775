"""MineGAN (Wang et al., CVPR 2020): FFHQ to ten images, as CDC's table has it."""

from __future__ import annotations

import dataclasses

from gan_jax.config import Config, MineGANConfig
from gan_jax.presets.few_shot import few_shot


def config() -> Config:
    """1,000 updates of mining, then all of it; 1,024 hidden units, so that the miner begins as the identity."""
    return dataclasses.replace(
        few_shot(), transfer=MineGANConfig(source="runs/ffhq256", mine_kimg=4.0, miner_width=1024)
    )
