"""Methods that search a frozen generator's latent space for the target."""

from __future__ import annotations

import dataclasses
from typing import Literal

from gan_jax.config.methods.whole import FinetuneConfig


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

    not_negative = ("mine_kimg", "selection_rate")

    @property
    def stages(self) -> dict[str, int]:
        return {"mine_kimg": 1}
