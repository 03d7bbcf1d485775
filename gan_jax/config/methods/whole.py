"""Fine-tuning of all leaves or of those that are not frozen, learned mining of latents, and adaptation to a text."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from gan_jax.config.training import TransplantConfig

# ----------------------------------------------------------------------------------------------------------------------
# Fine-tuning, and training from scratch.


@dataclasses.dataclass(frozen=True)
class TransferConfig:
    """Properties of a method, beside the fields of its configuration.

    Attributes:
      fuses: whether it makes one pair of several sources, and needs donors.
      adversarial: whether it has an adversarial loss; without one D is neither used nor trained.
      positive: fields that must be more than 0 (or None where they may be) -> remedy, as the end of a sentence.
      not_negative: fields that must be at least 0.
      several: whether it is made of other methods.
      several_networks: whether it takes networks other than one G and one D, such as two of each; not inherited.
      latents: whether it needs a generator of latents.
      images: number of training images, for methods that need it; None until the data are read.
    """

    fuses: ClassVar[bool] = False
    adversarial: ClassVar[bool] = True
    positive: ClassVar[Mapping[str, str]] = {}
    not_negative: ClassVar[tuple[str, ...]] = ()
    several: ClassVar[bool] = False
    several_networks: ClassVar[bool] = False
    latents: ClassVar[bool] = False
    images: ClassVar[int | None] = 0

    @property
    def stages(self) -> dict[str, int]:
        """Stages before the main training in their order: field with the length -> how often the stage is trained."""
        return {}

    def problems(self, config: Any) -> Iterator[str]:
        """Yields a line for every part of a run's `Config` that the method cannot be trained with, and the remedy."""
        return iter(())


@dataclasses.dataclass(frozen=True)
class ScratchConfig(TransferConfig):
    """Train from fresh weights."""

    several_networks: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True)
class SourceConfig(TransferConfig):
    """The pretrained networks that a run starts from."""

    source: str = "embedded:fashion16"  # weights file, run folder or embedded pair
    networks: Literal["both", "g", "d"] = "both"  # which networks start from the source
    d_warmup_kimg: float = (
        0.0  # thousand images for which D is trained alone at first; must be > 0 where only G is copied
    )

    not_negative = ("d_warmup_kimg",)


@dataclasses.dataclass(frozen=True)
class FinetuneConfig(TransplantConfig, SourceConfig):  # fields of the last base come first
    """A pretrained pair is transplanted, then fine-tuned (TransferGAN)."""

    several_networks: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True)
class FreezeDConfig(FinetuneConfig):
    """Fine-tune with the image-side blocks of D frozen (Freeze-D)."""

    blocks: int = 1  # number of D's frozen blocks, counted from the image

    several_networks: ClassVar[bool] = True
    positive = {"blocks": "; to freeze nothing use finetune"}


@dataclasses.dataclass(frozen=True)
class FreezeGConfig(FinetuneConfig):
    """Fine-tune with the latent-side blocks of G frozen (Freeze-G)."""

    blocks: int = 1  # number of G's frozen blocks, counted from the latents

    several_networks: ClassVar[bool] = True
    positive = {"blocks": "; to freeze nothing use finetune"}


# ----------------------------------------------------------------------------------------------------------------------
# Methods that search a frozen generator's latent space for the target.


@dataclasses.dataclass(frozen=True)
class MineGANConfig(FinetuneConfig):
    """A miner before frozen generators is trained against D, then everything is fine-tuned (MineGAN)."""

    mine_kimg: float = 1.0  # thousand real images shown while G is frozen; part of train.kimg
    miner_width: int = (
        512  # width of the miner's hidden layer; at least twice net.z_dim, so that it starts as the identity
    )
    finetune: bool = True  # whether G is trained too, after mining
    donors: tuple[str, ...] = ()  # further sources beside `source`; a mixture of miners selects one of all sources
    selection_rate: float = 100.0  # step size of that mixture, as a multiple of the miners'
    semantic: bool = False  # StyleGAN2: whether the constant at the start of synthesis is mined too
    moment: Literal["none", "prior"] = "prior"  # whether mined latents are scaled to the prior's second moment

    latents: ClassVar[bool] = True
    not_negative = ("mine_kimg", "selection_rate")

    @property
    def stages(self) -> dict[str, int]:
        return {"mine_kimg": 1}


# ----------------------------------------------------------------------------------------------------------------------
# Methods whose target is a text.


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

    latents: ClassVar[bool] = True
    adversarial: ClassVar[bool] = False
