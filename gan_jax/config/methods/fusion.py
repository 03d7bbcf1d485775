"""Several pretrained networks made one: what their shares are, how they are learned, how donors are prepared."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

from gan_jax.config.methods.whole import FinetuneConfig


@dataclasses.dataclass(frozen=True)
class DonorsConfig(FinetuneConfig):
    """Donors beside `source`, brought into its shape, order and scales; what they are made into is fine-tuned."""

    donors: tuple[str, ...] = ()  # further sources; the first, `source`, is what they are mixed with and aligned to
    align: Literal["weights", "activations", "none"] = "weights"  # by what channels of donors are put in order
    scales: bool = True  # whether free scales of donors are made those of the source first
    d: Literal["base", "best", "mix"] = "base"  # D: the source's; the one that is best on the target; mixed as G is

    fuses: ClassVar[bool] = True
    shard_donors: ClassVar[bool] = False


@dataclasses.dataclass(frozen=True)
class FusionConfig(DonorsConfig):
    """Shares of donors are learned in a stage before the run, and baked."""

    fuse_kimg: float = 1.0  # real images shown while shares are learned, thousands; part of train.kimg
    fuse_lr: float = 1e-2  # step size of the shares
    granularity: Literal["global", "block", "tensor", "channel"] = "block"  # what has a share of its own
    donor_dtype: Literal["float32", "bfloat16"] = "float32"  # in which donors are kept while shares are learned
    shard_donors: bool = (
        False  # every device holds its part of each donor meanwhile, and not all; with train.compile jit
    )
    preserve: float = 0.0  # after the stage: weight of the distance to the images that the fused G made; 0 = none
    give_way: bool = True  # whether that gives way to the target's gradient where the two conflict (PCGrad)

    @property
    def of_examples(self) -> bool:
        """Whether every example has shares of its own."""
        return False

    @property
    def stages(self) -> dict[str, int]:
        return {"fuse_kimg": 1}


@dataclasses.dataclass(frozen=True)
class GradientFusionConfig(FusionConfig):
    """Shares of donors are trained by the target's loss, as they are (gradient-based fusion)."""

    constraint: Literal["free", "box", "simplex"] = "simplex"  # any number; from 0 to 1; parts of 1 with the source's
    start: float | None = None  # where each share begins; None = 1 / (donors + 1)
    init: Literal["start", "fisher", "gradient_matching"] = "start"  # or by Fisher information, which needs D of source
    fisher_samples: int = 256  # images that the information of each network is estimated on
    regularise: Literal["none", "entropy", "distance"] = (
        "none"  # pays for undecided shares, or for moving from the start
    )
    strength: float = 0.1  # of that


@dataclasses.dataclass(frozen=True)
class AttentionFusionConfig(FusionConfig):
    """Shares of donors by attention: a learned query against a key of each donor, behind a gate (AF-W)."""

    query: Literal["free", "latent", "style", "class", "features"] = "free"  # what queries are made of; free = nothing
    per: Literal["example", "batch"] = "example"  # whose shares, where they depend on something; batch = their mean
    keys: Literal["free", "descriptor"] = "free"  # what keys are made of; descriptor = what a donor's images are like
    with_source: bool = False  # whether the source is chosen among the donors; with gate 1 it has what they leave
    collapse: Literal["mean", "distil"] = "mean"  # of shares that depend on something: their mean; a G taught by all
    distil_kimg: float = 0.5  # images on which distil teaches it, thousands; part of train.kimg
    distil_lr: float = 5e-3  # step size of that G while it is taught
    aligner: bool = False  # donors' kernels above 1x1 have trained maps of their output channels, at fuse_lr
    attention_width: int = 16  # of queries and keys
    gate: float = 0.0  # where gates begin; 0 = the source as it is, 1 = the donors alone
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
    """Donors merged in closed form; with `best` the one that is nearest to the target is taken, and nothing merged."""

    merge: MergeKind = "uniform"  # the closed form
    base: str | None = None  # what the networks were fine-tuned from, for task vectors; None = the source
    weights: tuple[float, ...] | None = None  # of the source and the donors, or of the donors over a base; None = even
    density: float | None = None  # share of each task vector that TIES and DARE keep; None = the published one
    lam: float | None = None  # factor of the merged task vector; None = the published one
    mid_px: int = 16  # layer_swap: the resolution behind which the donor's layers begin
    transition: float | None = None  # of that transition, in half blocks; None = hard
    samples: int = 256  # images that informations, Gram matrices and distances to the target are estimated on
