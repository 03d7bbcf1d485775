"""Learning where in a frozen generator's latent space the target lies."""

from __future__ import annotations

import dataclasses
from typing import Literal

from gan_jax.config.methods.whole import FinetuneConfig


@dataclasses.dataclass(frozen=True)
class MineGANConfig(FinetuneConfig):
    """A miner before frozen generators is trained against D, then all of it is fine-tuned (MineGAN)."""

    mine_kimg: float = 1.0  # real images shown while G is frozen, thousands; part of train.kimg
    miner_width: int = 512  # of the miner's hidden layer; at least twice net.z_dim, so that it begins as the identity
    finetune: bool = True  # train G too, after mining
    donors: tuple[str, ...] = ()  # further sources beside `source`; the miners' mixture selects one of them all
    selection_rate: float = 100.0  # how fast that mixture is learned, in step sizes of the miners
    semantic: bool = False  # StyleGAN2: also mine the constant that synthesis begins with
    moment: Literal["none", "prior"] = "prior"  # whether mined latents are scaled to the prior's second moment

    not_negative = ("mine_kimg", "selection_rate")

    @property
    def stages(self) -> dict[str, int]:
        return {"mine_kimg": 1}
