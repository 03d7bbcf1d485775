"""EWC for few shots (Li et al., NeurIPS 2020): FFHQ to ten images."""

from __future__ import annotations

import dataclasses

from gan_jax.config import Config, EWCConfig
from gan_jax.presets.few_shot import few_shot


def config() -> Config:
    """CDC's recipe; the strength is the paper's, 5e8, unless --transfer.balance is given."""
    return dataclasses.replace(few_shot(), transfer=EWCConfig(source="runs/ffhq256"))
