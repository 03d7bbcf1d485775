"""Fine-tuning that pays for leaving the source: in weights, in features, or in what samples have to do with each other."""

from __future__ import annotations

import dataclasses

from gan_jax.config.methods.whole import FinetuneConfig


@dataclasses.dataclass(frozen=True)
class L2SPConfig(FinetuneConfig):
    """Pay for the squared distance of weights from where they started (L2-SP)."""

    strength: float = 1e-3  # times the sum of squared differences, G's and D's each
    d_strength: float | None = None  # the same for D; None = strength


@dataclasses.dataclass(frozen=True)
class EWCConfig(FinetuneConfig):
    """Pay for G's distance from its start where the source's D says that it matters (elastic weight consolidation)."""

    strength: float = 5e8  # times the sum of Fisher information x squared differences
    samples: int = 512  # generated images that the information is estimated on
    balance: float | None = None  # choose the strength so that a move of 1 % of the weights costs this; None = strength


@dataclasses.dataclass(frozen=True)
class FeatureDistillationConfig(FinetuneConfig):
    """Pay for the distance of D's features from those of the source's D, on real and generated images."""

    strength: float = 1.0  # times the mean squared difference, mean over blocks
    anneal_kimg: float | None = None  # to 0 over so many thousand images; None = as it is


@dataclasses.dataclass(frozen=True)
class PreserveConfig(FinetuneConfig):
    """Pay for the distance of images from those that G made of the same latents at the start."""

    strength: float = 1.0  # times the mean absolute difference
    give_way: bool = True  # whether that gives way to the target's gradient where the two conflict (PCGrad)

    not_negative = ("strength",)


@dataclasses.dataclass(frozen=True)
class CDCConfig(FinetuneConfig):
    """Cross-domain correspondence: similarities between samples are kept; D sees whole images near anchors, else patches."""

    strength: float = 1000.0  # times the divergence of similarities, mean over pairs of a group
    group: int = 4  # samples that are compared with each other
    anchors: int = 10  # fixed latents around which whole images are judged
    anchor_noise: float = 0.1  # standard deviation around them
    anchor_every: int = 4  # of so many steps one is around anchors
    patch_px: int | None = None  # size of D's feature map that patches are judged at; None = a quarter of the image


@dataclasses.dataclass(frozen=True)
class RSSAConfig(CDCConfig):
    """Relaxed spatial structural alignment: correlations within and between feature maps are kept, instead of CDC's."""

    strength: float = 0.8  # of the correlation within a map, summed over maps and both kinds of windows
    disturbance: float = 1.0  # of the correlation with maps of latents nearby, on average over steps
    disturbance_every: int = 6  # steps from one to the next
    nearby: float = 0.85  # share of the latent itself in those nearby


@dataclasses.dataclass(frozen=True)
class DCLConfig(FinetuneConfig):
    """Dual contrastive learning: a sample is to be told by its source's features, in G's and in D's."""

    g_strength: float = 2.0  # of the contrast in G's features
    d_strength: float = 0.5  # of the contrast in D's features, reals among the negatives
    temperature: float = 0.07  # divides the cosines
    group: int = 4  # samples that are told apart
