"""Methods whose target is a text."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

from gan_jax.config.methods.whole import FinetuneConfig


@dataclasses.dataclass(frozen=True)
class NADAConfig(FinetuneConfig):
    """StyleGAN-NADA: G follows the direction between two texts in CLIP's space, without D and without images."""

    networks: Literal["both", "g", "d"] = "g"
    unused: Literal["error", "drop"] = "drop"
    clip: str = ""  # folder of CLIP weights, or name of an encoder registered in Python
    source_text: str = "photo"  # description of the source's images
    target_text: str = "sketch"  # description of the target's images
    layers: int = 1  # number of G's layers trained in a step, those whose styles move most; 0 = all
    layer_batch: int = 8  # styles in the batch that chooses them
    layer_lr: float = 0.01  # step size of the moves that choose them

    adversarial: ClassVar[bool] = False
