"""Fine-tuning of whole leaves: all of them, or those that are not frozen."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from gan_jax.config.transplant import TransplantConfig


@dataclasses.dataclass(frozen=True)
class TransferConfig:
    """What a method says of itself, beside the fields of its configuration.

    Attributes:
      fuses: whether it makes one pair of several sources, and wants donors.
      adversarial: whether D plays; without it nothing is judged, and D neither trains nor warms up.
      positive: fields that must be more than 0 (or None where they may be) -> what else to do, as the end of a sentence.
      not_negative: fields that must be at least 0.
      several: whether it is made of other methods.
      images: how many training images there are, where the method wants to know: None until the data say it.
    """

    fuses: ClassVar[bool] = False
    adversarial: ClassVar[bool] = True
    positive: ClassVar[Mapping[str, str]] = {}
    not_negative: ClassVar[tuple[str, ...]] = ()
    several: ClassVar[bool] = False
    images: ClassVar[int | None] = 0

    @property
    def stages(self) -> dict[str, int]:
        """Stages before the main training, in their order: the field with their length, how often each is trained."""
        return {}

    def problems(self, config: Any) -> Iterator[str]:
        """One line for everything in a run's `Config` that the method cannot be trained in, and what to change."""
        return iter(())


@dataclasses.dataclass(frozen=True)
class ScratchConfig(TransferConfig):
    """Train from fresh weights."""


@dataclasses.dataclass(frozen=True)
class SourceConfig(TransferConfig):
    """Which pretrained networks a run starts from."""

    source: str = "embedded:fashion16"  # weights file, run folder or embedded pair
    networks: Literal["both", "g", "d"] = "both"  # which networks start from the source
    d_warmup_kimg: float = 0.0  # train D alone for so many thousand images first; wants > 0 when only G is copied

    not_negative = ("d_warmup_kimg",)


@dataclasses.dataclass(frozen=True)
class FinetuneConfig(TransplantConfig, SourceConfig):  # fields of the last base come first
    """Transplant a pretrained pair, then train what was copied (TransferGAN)."""


@dataclasses.dataclass(frozen=True)
class FreezeDConfig(FinetuneConfig):
    """Fine-tune with the image-side blocks of D frozen (Freeze-D)."""

    blocks: int = 1  # how many of D's blocks stay frozen, counted from the image

    positive = {"blocks": "; to freeze nothing use finetune"}


@dataclasses.dataclass(frozen=True)
class FreezeGConfig(FinetuneConfig):
    """Fine-tune with the latent-side blocks of G frozen (Freeze-G)."""

    blocks: int = 1  # how many of G's blocks stay frozen, counted from the latents

    positive = {"blocks": "; to freeze nothing use finetune"}
