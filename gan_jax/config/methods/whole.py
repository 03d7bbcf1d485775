"""Fine-tuning of whole leaves: all of them, or those that are not frozen."""

from __future__ import annotations

import dataclasses
from typing import Literal

from gan_jax.config.transplant import TransplantConfig


@dataclasses.dataclass(frozen=True)
class ScratchConfig:
    """Train from fresh weights."""


@dataclasses.dataclass(frozen=True)
class SourceConfig:
    """Which pretrained networks a run starts from."""

    source: str = "embedded:fashion16"  # weights file, run folder or embedded pair
    networks: Literal["both", "g", "d"] = "both"  # which networks start from the source
    d_warmup_kimg: float = 0.0  # train D alone for so many thousand images first; wants > 0 when only G is copied


@dataclasses.dataclass(frozen=True)
class FinetuneConfig(TransplantConfig, SourceConfig):  # fields of the last base come first
    """Transplant a pretrained pair, then train what was copied (TransferGAN)."""


@dataclasses.dataclass(frozen=True)
class FreezeDConfig(FinetuneConfig):
    """Fine-tune with the image-side blocks of D frozen (Freeze-D)."""

    blocks: int = 1  # how many of D's blocks stay frozen, counted from the image


@dataclasses.dataclass(frozen=True)
class FreezeGConfig(FinetuneConfig):
    """Fine-tune with the latent-side blocks of G frozen (Freeze-G)."""

    blocks: int = 1  # how many of G's blocks stay frozen, counted from the latents
