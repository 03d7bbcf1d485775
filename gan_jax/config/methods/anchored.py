"""Fine-tuning that stays near the source: in weights, in features, in similarities of samples, or filter by filter."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from gan_jax.config.methods.whole import FinetuneConfig

# ----------------------------------------------------------------------------------------------------------------------
# Loss terms on weights, features or similarities of samples.


@dataclasses.dataclass(frozen=True)
class L2SPConfig(FinetuneConfig):
    """A loss term of the squared distance of weights from their start (L2-SP)."""

    strength: float = 1e-3  # weight of the sum of squared differences, for G and for D
    d_strength: float | None = None  # the same for D; None = strength

    several_networks: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True)
class EWCConfig(FinetuneConfig):
    """A loss term of G's distance from its start, weighted by Fisher information (elastic weight consolidation)."""

    strength: float = 5e8  # weight of the sum of Fisher information x squared differences
    samples: int = 512  # generated images that the information is estimated on
    balance: float | None = (
        None  # chooses the strength so that a change of the weights by 1 % has this loss; None = strength
    )

    several_networks: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True)
class FeatureDistillationConfig(FinetuneConfig):
    """A loss term of the distance of D's features from the source's, on real and generated images."""

    strength: float = 1.0  # weight of the mean squared difference, mean over blocks
    anneal_kimg: float | None = None  # thousand images over which the weight falls to 0; None = it stays


@dataclasses.dataclass(frozen=True)
class PreserveConfig(FinetuneConfig):
    """Pay for the distance of images from those that G made of the same latents at the start."""

    strength: float = 1.0  # times the mean absolute difference
    give_way: bool = True  # whether that gives way to the target's gradient where the two conflict (PCGrad)

    several_networks: ClassVar[bool] = True
    not_negative = ("strength",)


@dataclasses.dataclass(frozen=True)
class CDCConfig(FinetuneConfig):
    """Cross-domain correspondence: similarities between samples are kept; D sees whole images near anchors, else patches."""

    strength: float = 1000.0  # weight of the divergence of similarities, mean over pairs of a group
    group: int = 4  # samples that are compared with each other
    anchors: int = 10  # fixed latents around which D sees whole images
    anchor_noise: float = 0.1  # standard deviation around them
    anchor_every: int = 4  # steps from one around anchors to the next
    patch_px: int | None = (
        None  # size of D's feature map that gives a logit to each patch; None = a quarter of the image
    )

    latents: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True)
class RSSAConfig(CDCConfig):
    """Relaxed spatial structural alignment: correlations within and between feature maps are kept, instead of CDC's."""

    strength: float = 0.8  # weight of the correlation within a map, summed over maps and both kinds of windows
    disturbance: float = 1.0  # weight of the correlation with maps of nearby latents, on average over steps
    disturbance_every: int = 6  # steps from one such term to the next
    nearby: float = 0.85  # share of a latent in its nearby ones


@dataclasses.dataclass(frozen=True)
class DCLConfig(FinetuneConfig):
    """Dual contrastive learning: a sample is identified by its source's features, in G and in D."""

    g_strength: float = 2.0  # weight of the contrast in G's features
    d_strength: float = 0.5  # weight of the contrast in D's features, with real images among the negatives
    temperature: float = 0.07  # divides the cosines
    group: int = 4  # samples that are contrasted with each other

    latents: ClassVar[bool] = True


# ----------------------------------------------------------------------------------------------------------------------
# Methods that freeze or train each filter by its Fisher information; near and far are targets.


@dataclasses.dataclass(frozen=True)
class AdAMConfig(FinetuneConfig):
    """Adaptation-aware kernel modulation: probe, then modulate the important filters and train the others."""

    probe_kimg: float = (
        2.0  # thousand real images shown while only modulations and D's head are trained; part of train.kimg
    )
    probe_samples: int = 1000  # generated images for the estimate of importance
    quantile: float = 50.0  # percent of the filters of a group that are fully trained; 50 near, 75 far

    @property
    def stages(self) -> dict[str, int]:
        return {"probe_kimg": 1}


@dataclasses.dataclass(frozen=True)
class RICKConfig(FinetuneConfig):
    """Remove in-compatible knowledge: important filters are frozen, the least important set to zero permanently."""

    warmup_kimg: float = 0.5  # thousand real images shown while only D's head is trained; part of train.kimg
    every: int = 50  # steps from one estimate of importance to the next
    batches: int = 5  # batches of generated and real images for each estimate
    freeze: float = 40.0  # percent: filters above this quantile are frozen until the next estimate; 40 near, 85 far
    prune: float = 0.1  # percent: filters below this quantile become zero permanently

    @property
    def stages(self) -> dict[str, int]:
        return {"warmup_kimg": 1}
