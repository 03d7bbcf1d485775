"""Fusions of several pretrained generators through their outputs: in features, as teachers, from a common root."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

from gan_jax.config.methods.whole import FinetuneConfig


@dataclasses.dataclass(frozen=True)
class DistillationConfig(FinetuneConfig):
    """Several teachers are distilled into G by images of the same latents, then everything is fine-tuned."""

    donors: tuple[str, ...] = ()  # further sources beside `source`; all of them are teachers
    distil_kimg: float = 1.0  # thousand images of the distillation; part of train.kimg
    distil_lr: float = 5e-3  # step size of G in the distillation
    shares: tuple[float, ...] = ()  # share of the examples for each teacher, the source first; empty = equal shares
    by: Literal["latent", "chance"] = (
        "latent"  # how an example gets its teacher: fixed by its latent, or drawn each time
    )
    l1: float = 1.0  # weight of the distance between images
    feature_weight: float = 0.0  # weight of the distance between features at `points`, each relative to its size
    points: tuple[str, ...] = ()  # modules of G whose features are compared, such as b8; empty = one in each block
    perceptual: float = 1.0  # weight of LPIPS
    lpips: Literal["vgg16", "alexnet"] | None = None  # published network of LPIPS; None = no LPIPS

    not_negative = ("distil_kimg", "l1", "feature_weight", "perceptual")
    fuses: ClassVar[bool] = True
    d: ClassVar[str] = "base"  # the source's

    @property
    def stages(self) -> dict[str, int]:
        return {"distil_kimg": 1}


@dataclasses.dataclass(frozen=True)
class FeatureFusionConfig(DistillationConfig):
    """G attends to features of frozen donors, is distilled into a plain G, then everything is fine-tuned."""

    feature_weight: float = 1.0  # weight of the distance between features at `points`, each relative to its size
    way: Literal["attention", "aff"] = (
        "attention"  # fusion layer: softmax over donors and G; or AFF's gate, for one donor
    )
    attention_width: int = 16  # of queries and keys
    fuse_kimg: float = 1.0  # thousand real images shown with donors; part of train.kimg
    finetune: bool = True  # whether G's own leaves are trained with the attention
    wean: float = 0.1  # weight of -log of G's attention to itself, which reduces that to donors; 0 = off
    wean_from: float = 0.5  # fraction of that stage after which that weight grows from 0
    drop: float = 0.01  # donors whose attention is less than this at every point are left out of the distillation

    positive = {"attention_width": ""}
    not_negative = ("wean", "drop")

    @property
    def stages(self) -> dict[str, int]:
        return {"fuse_kimg": 1, "distil_kimg": 1}


@dataclasses.dataclass(frozen=True)
class CocktailConfig(FinetuneConfig):
    """Copies of the source, the root, are trained for each donor, averaged, then fine-tuned (GAN Cocktail)."""

    donors: tuple[str, ...] = ()  # further sources beside `source`
    root_kimg: float = 1.0  # thousand images of a donor shown to its copy of the root; all are part of train.kimg

    positive = {"root_kimg": ""}
    fuses: ClassVar[bool] = True
    d: ClassVar[str] = "base"  # always averaged with the copies'

    @property
    def stages(self) -> dict[str, int]:
        return {"root_kimg": len(self.donors)}
