"""Methods with few trained parameters: modulations, low-rank factors, and BSA, which has no discriminator."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from gan_jax.config.methods.whole import FinetuneConfig


@dataclasses.dataclass(frozen=True)
class ScaleShiftConfig(FinetuneConfig):
    """Only scales and shifts of G are trained, against D: those of its norms, or, without norms, filter scales."""

    d_frozen: bool = False  # whether D is frozen apart from its head


@dataclasses.dataclass(frozen=True)
class BSAConfig(FinetuneConfig):
    """Batch statistics adaptation: scales, shifts and a latent for each image learn to reconstruct it, without D.

    Sample with truncation 0.3 afterwards, as the paper does.
    """

    networks: Literal["both", "g", "d"] = "g"
    unused: Literal["error", "drop"] = "drop"
    perceptual: float = 0.001  # weight of the L1 distance between features
    features: Literal["vgg16", "alexnet"] | None = None  # published network of these features; None = pixels only
    earth_mover: float = 0.1  # weight of the distance between the learned latents and normal ones
    scale: float = 0.02  # weight of the change of scales and shifts
    noise: float = 0.01  # standard deviation of the noise on learned latents
    normals: int = 10  # normal latents for each learned one in earth_mover
    images: int | None = None  # number of training images; None = that of the run's data

    latents: ClassVar[bool] = True
    positive = {
        "normals": "; to leave the term out use transfer.earth_mover 0",
        "images": ", or None for as many as there are",
    }
    not_negative = ("perceptual", "earth_mover", "scale", "noise")
    adversarial: ClassVar[bool] = False

    def problems(self, config: Any) -> Iterator[str]:
        if self.d_warmup_kimg > 0:
            yield "transfer.d_warmup_kimg warms a D up, but bsa trains without one; use 0"
        if config.data.mirror:
            yield "data.mirror shows an image in two ways, but bsa has one latent for it; use False"
        if config.train.d_steps > 1:
            yield f"train.d_steps is {config.train.d_steps}, but bsa trains without a D; use 1"


@dataclasses.dataclass(frozen=True)
class AdaFMConfig(FinetuneConfig):
    """Adaptive filter modulation: G's image-side kernels frozen under a scale and a shift of each 2-D filter slice."""

    fresh_blocks: int = 0  # number of G's blocks, counted from the latents, that are fresh and fully trained
    d_blocks: int = 2  # number of D's frozen blocks, counted from the image

    not_negative = ("fresh_blocks", "d_blocks")


@dataclasses.dataclass(frozen=True)
class FSGANConfig(FinetuneConfig):
    """Few-shot GAN: only singular values of kernels are trained, in G and in D."""


@dataclasses.dataclass(frozen=True)
class LoRAConfig(FinetuneConfig):
    """Low-rank additions to frozen kernels of G; D is fine-tuned."""

    rank: int = 4  # of the additions
    alpha: float = 4.0  # additions are multiplied by alpha / rank
    d_adapted: bool = False  # whether D is frozen under additions too, apart from its head

    several_networks: ClassVar[bool] = True
    positive = {"rank": ""}


@dataclasses.dataclass(frozen=True)
class KMLConfig(FinetuneConfig):
    """Kernel modulation: a rank-1 gate on frozen kernels of G; D is fine-tuned."""

    d_adapted: bool = False  # whether D is frozen under gates too, apart from its head
