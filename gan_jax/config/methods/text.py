"""Adaptation towards words."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

from gan_jax.config.methods.whole import FinetuneConfig


@dataclasses.dataclass(frozen=True)
class NADAConfig(FinetuneConfig):
    """StyleGAN-NADA: G moves along a direction between two texts in CLIP's space, without D and without images."""

    networks: Literal["both", "g", "d"] = "g"
    unused: Literal["error", "drop"] = "drop"
    clip: str = ""  # folder of CLIP weights, or the name of an encoder given in Python
    source_text: str = "photo"  # what the source makes, in words
    target_text: str = "sketch"  # what it is to make, in words
    layers: int = 1  # how many layers of G train in a step, those whose styles move most; 0 = all
    layer_batch: int = 8  # styles that are moved to choose them
    layer_lr: float = 0.01  # step size of that move

    adversarial: ClassVar[bool] = False
