"""Few-shot adaptation of a StyleGAN2 of 256 px: the recipe that CDC (Ojha et al., 2021) and its heirs share.

Networks and game are those of rosinality's stylegan2-pytorch, which CDC, RSSA, AdAM and RICK build on, so that the
published generators of that layout fit: 32768 / r channels and at most 512, a mapping of 8 layers. Batches of 4, the
non-saturating loss, R1 of 10 every 16 updates of D, path lengths every 4 of G, Adam 0.002 with betas 0 and 0.99. Its
average of G forgets half in 10,000 / 32 updates, whatever the batch, and has no ramp-up. 5,002 updates are what CDC's code
does; what is told from it in `experiments/papers` has a length of its own. Neither augmentation nor half precision.
"""

from __future__ import annotations

from collections.abc import Callable

from gan_jax.config import (
    Config,
    DataConfig,
    EMAConfig,
    EvalConfig,
    FinetuneConfig,
    LossConfig,
    OptimConfig,
    StyleGAN2Config,
    TrainConfig,
)


def few_shot(updates: int = 5002, batch: int = 4) -> Config:
    """The recipe for so many updates of G, and as many of D, in batches of so many images."""
    return Config(
        data=DataConfig(source="folder:data/babies", pipeline="device"),
        net=StyleGAN2Config(resolution=256, mapping_layers=8, channel_base=32768),
        loss=LossConfig("non_saturating", r1_gamma=10.0, penalty_interval=16, path_length=2.0),
        optim=OptimConfig(lr=0.002, b1=0.0, b2=0.99),
        ema=EMAConfig(half_life_kimg=10 / 32 * batch, rampup=None),
        train=TrainConfig(kimg=updates * batch / 1000, batch=batch),
        transfer=FinetuneConfig(source="runs/ffhq256"),
        evaluate=EvalConfig(features=None),  # few images are no reference
    )


PRESETS: dict[str, Callable[[], Config]] = {"stylegan2-few-shot-256": few_shot}
