"""Fusions of pretrained networks: by weights, by closed forms, by features, and by distillation."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

from gan_jax.config.methods.whole import FinetuneConfig

# ----------------------------------------------------------------------------------------------------------------------
# Fusions by weights: mixing weights and how they are learned, merges, donors.


@dataclasses.dataclass(frozen=True)
class DonorsConfig(FinetuneConfig):
    """Donors beside `source`, aligned with its shape, order of channels and scales; the fused pair is fine-tuned."""

    donors: tuple[str, ...] = ()  # further sources, which are aligned to `source` and mixed with it
    align: Literal["weights", "activations", "none"] = "weights"  # how channels of donors are matched
    scales: bool = True  # whether free scales of donors are first set to those of the source
    d: Literal["base", "best", "mix"] = "base"  # D: the source's, the best one on the target, or mixed like G

    fuses: ClassVar[bool] = True
    shard_donors: ClassVar[bool] = False


@dataclasses.dataclass(frozen=True)
class FusionConfig(DonorsConfig):
    """Mixing weights of donors are learned in a stage before the main training, and baked."""

    fuse_kimg: float = 1.0  # thousand real images shown while mixing weights are learned; part of train.kimg
    fuse_lr: float = 1e-2  # step size of the mixing weights
    granularity: Literal["global", "block", "tensor", "channel"] = (
        "block"  # parts of the network with mixing weights of their own
    )
    donor_dtype: Literal["float32", "bfloat16"] = "float32"  # dtype of donors while mixing weights are learned
    shard_donors: bool = False  # whether donors are sharded over devices meanwhile; with train.compile jit
    preserve: float = 0.0  # after the stage: weight of the distance to the fused G's images; 0 = off
    give_way: bool = True  # whether that term's gradient is projected where it conflicts with the target's (PCGrad)

    @property
    def of_examples(self) -> bool:
        """Whether every example has mixing weights of its own."""
        return False

    @property
    def stages(self) -> dict[str, int]:
        return {"fuse_kimg": 1}


@dataclasses.dataclass(frozen=True)
class GradientFusionConfig(FusionConfig):
    """Mixing weights of donors are trained directly by the target's loss (gradient-based fusion)."""

    several_networks: ClassVar[bool] = True

    constraint: Literal["free", "box", "simplex"] = (
        "simplex"  # any number; from 0 to 1; with the source's they sum to 1
    )
    start: float | None = None  # start of each mixing weight; None = 1 / (donors + 1)
    init: Literal["start", "fisher", "gradient_matching"] = (
        "start"  # or start by Fisher information, which needs the source's D
    )
    fisher_samples: int = 256  # images for the information of each network
    regularise: Literal["none", "entropy", "distance"] = (
        "none"  # loss term: entropy of mixing weights, or distance from their start
    )
    strength: float = 0.1  # weight of that term


@dataclasses.dataclass(frozen=True)
class AttentionFusionConfig(FusionConfig):
    """Mixing weights of donors by attention: a learned query against a key of each donor, behind a gate (AF-W)."""

    several_networks: ClassVar[bool] = True

    query: Literal["free", "latent", "style", "class", "features"] = "free"  # input of the queries; free = none
    per: Literal["example", "batch"] = (
        "example"  # whether mixing weights with an input are of each example, or their mean over the batch
    )
    keys: Literal["free", "descriptor"] = (
        "free"  # input of the keys; free = none; descriptor = statistics of a donor's images
    )
    with_source: bool = False  # whether the source is among the donors; with gate 1 its weight is the remainder
    collapse: Literal["mean", "distil"] = (
        "mean"  # mixing weights with an input become their mean, or are distilled into a plain G
    )
    distil_kimg: float = 0.5  # thousand images of that distillation; part of train.kimg
    distil_lr: float = 5e-3  # step size of G in the distillation
    aligner: bool = False  # whether donors' kernels above 1x1 have trained channel maps at their output, at fuse_lr
    attention_width: int = 16  # of queries and keys
    gate: float = 0.0  # start of gates; 0 = the source only, 1 = the donors only
    temperature: float = 30.0  # of the softmax at the start of the stage
    temperature_end: float = 1.0  # at its end

    positive = {"attention_width": ""}
    not_negative = ("distil_kimg",)

    @property
    def of_examples(self) -> bool:
        return self.query != "free" and self.per == "example"

    @property
    def stages(self) -> dict[str, int]:
        return {"fuse_kimg": 1} | ({} if self.collapse == "mean" else {"distil_kimg": 1})


MergeKind = Literal[
    "uniform", "average", "slerp", "karcher", "task_arithmetic", "ties", "dare_linear", "dare_ties", "fisher",
    "gradient_matching", "regmean", "greedy_soup", "layer_swap", "best",
]  # of fusion.merges.MERGES, and the best single one  # fmt: skip


@dataclasses.dataclass(frozen=True)
class MergeConfig(DonorsConfig):
    """Donors are merged in closed form; with `best`, the one nearest to the target is taken without a merge."""

    several_networks: ClassVar[bool] = True

    merge: MergeKind = "uniform"  # the closed form
    base: str | None = None  # common origin of the fine-tuned networks, for task vectors; None = the source
    weights: tuple[float, ...] | None = None  # of source and donors, or of donors over a base; None = equal
    density: float | None = None  # share of each task vector that TIES and DARE keep; None = as published
    lam: float | None = None  # factor of the merged task vector; None = as published
    mid_px: int = 16  # layer_swap: resolution above which layers are the donor's
    transition: float | None = None  # width of that transition, half blocks; None = hard
    samples: int = 256  # images for Fisher information, Gram matrices and distances to the target


# ----------------------------------------------------------------------------------------------------------------------
# Fusions through outputs: in features, as teachers, from a common root.


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
