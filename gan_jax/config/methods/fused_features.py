"""Several pretrained generators into one through what they make: in features, as teachers, from a common root."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

from gan_jax.config.methods.whole import FinetuneConfig


@dataclasses.dataclass(frozen=True)
class DistillationConfig(FinetuneConfig):
    """Several teachers make images of the same latents, G learns to make them too, then all is fine-tuned."""

    donors: tuple[str, ...] = ()  # further sources beside `source`; all of them teach
    distil_kimg: float = 1.0  # images that G makes with teachers, thousands; part of train.kimg
    distil_lr: float = 5e-3  # step size of G while it is taught
    shares: tuple[float, ...] = ()  # of the examples that each teacher has, the source's first; empty = all the same
    by: Literal["latent", "chance"] = "latent"  # who teaches: told by the latent, for good; or drawn anew each time
    l1: float = 1.0  # weight of the distance between images
    feature_weight: float = 0.0  # weight of the distance between features at `points`, each relative to its size
    points: tuple[str, ...] = ()  # modules of G whose features are compared, such as b8; empty = one in each block
    perceptual: float = 1.0  # weight of LPIPS
    lpips: Literal["vgg16", "alexnet"] | None = None  # published network for it; None = leave LPIPS out

    not_negative = ("distil_kimg", "l1", "feature_weight", "perceptual")
    fuses: ClassVar[bool] = True
    d: ClassVar[str] = "base"  # as it is

    @property
    def stages(self) -> dict[str, int]:
        return {"distil_kimg": 1}


@dataclasses.dataclass(frozen=True)
class FeatureFusionConfig(DistillationConfig):
    """G attends to the features of frozen donors, which is distilled into a plain G, then all is fine-tuned."""

    feature_weight: float = 1.0  # weight of the distance between features at `points`, each relative to its size
    way: Literal["attention", "aff"] = "attention"  # softmax over donors and G; or AFF's gate, of one donor
    attention_width: int = 16  # of queries and keys
    fuse_kimg: float = 1.0  # real images shown while donors are there, thousands; part of train.kimg
    finetune: bool = True  # train G's own leaves beside the attention
    wean: float = 0.1  # weight of -log of G's own share, so that donors are needed less and less; 0 = keep them
    wean_from: float = 0.5  # part of that stage from which it grows from 0
    drop: float = 0.01  # a donor that counts less than this at every point is left out of the distillation

    positive = {"attention_width": ""}
    not_negative = ("wean", "drop")

    @property
    def stages(self) -> dict[str, int]:
        return {"fuse_kimg": 1, "distil_kimg": 1}


@dataclasses.dataclass(frozen=True)
class CocktailConfig(FinetuneConfig):
    """The source is the root: copies of it learn what each donor makes, all are averaged, then fine-tuned (GAN Cocktail)."""

    donors: tuple[str, ...] = ()  # further sources beside `source`
    root_kimg: float = 1.0  # images of a donor shown to its copy of the root, thousands; all are part of train.kimg

    positive = {"root_kimg": ""}
    fuses: ClassVar[bool] = True
    d: ClassVar[str] = "base"  # averaged with the copies' in any case

    @property
    def stages(self) -> dict[str, int]:
        return {"root_kimg": len(self.donors)}
