"""Several pretrained networks made one: what their shares are, how they are learned, how donors are prepared."""

from __future__ import annotations

import dataclasses
from typing import Literal

from gan_jax.config.methods.whole import FinetuneConfig


@dataclasses.dataclass(frozen=True)
class FusionConfig(FinetuneConfig):
    """Donors beside `source`, brought into its shape, order and scales, mixed in a stage, baked, then fine-tuned."""

    donors: tuple[str, ...] = ()  # further sources; the first, `source`, is what they are mixed with and aligned to
    align: Literal["weights", "activations", "none"] = "weights"  # by what channels of donors are put in order
    scales: bool = True  # whether free scales of donors are made those of the source first
    d: Literal["base", "best", "mix"] = "base"  # D: the source's; the one that is best on the target; a mixture too
    fuse_kimg: float = 1.0  # real images shown while shares are learned, thousands; part of train.kimg
    fuse_lr: float = 1e-2  # step size of the shares
    granularity: Literal["global", "block", "tensor", "channel"] = "block"  # what has a share of its own
    donor_dtype: Literal["float32", "bfloat16"] = "float32"  # in which donors are kept while shares are learned


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

    attention_width: int = 16  # of queries and keys
    gate: float = 0.0  # where gates begin; 0 = the source as it is, 1 = the donors alone
    temperature: float = 30.0  # of the softmax at the start of the stage
    temperature_end: float = 1.0  # at its end
