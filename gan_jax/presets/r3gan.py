"""R3GAN (Huang et al., NeurIPS 2024): the configurations of the official implementation.

Relativistic pairing loss, R1 and R2 in every update, Adam with beta 1 of 0. Half a cosine over the length of the run anneals
the step size 2e-4 -> 5e-5, beta 2 .9 -> .99, gamma to a tenth, and the half-life of G's average and ADA's strength up from
0. A run is as long as its schedules: 20 million images, or 200 million for ImageNet.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from gan_jax.config import (
    AnnealConfig,
    AugmentConfig,
    Config,
    DataConfig,
    EMAConfig,
    LossConfig,
    OptimConfig,
    TrainConfig,
)
from gan_jax.nets.r3gan import PRESETS as NETS


def _config(name: str, source: str, *, batch: int, gamma: float, half_life: float, p: float, kimg: float) -> Config:
    return Config(
        data=DataConfig(source=source),
        net=NETS[name],
        loss=LossConfig("relativistic", r1_gamma=gamma, r2_gamma=gamma),
        augment=AugmentConfig(ada="r3gan", ada_target=None),
        optim=OptimConfig(lr=2e-4, b1=0.0, b2=0.9),
        ema=EMAConfig(half_life_kimg=0.0, rampup=None),
        anneal=AnnealConfig(kimg=kimg, lr=5e-5, b2=0.99, gamma=gamma / 10, half_life_kimg=half_life, ada_p=p),
        train=TrainConfig(kimg=kimg, batch=batch),
    )


_FFHQ = partial(_config, batch=256, half_life=500.0, p=0.3, kimg=20_000.0)
_IMAGENET = partial(_config, batch=4096, half_life=50_000.0, kimg=200_000.0)

PRESETS: dict[str, Callable[[], Config]] = {
    "r3gan-cifar10": partial(
        _config, "cifar10", "tfds:cifar10:train", batch=512, gamma=0.05, half_life=5000.0, p=0.55, kimg=20_000.0
    ),
    "r3gan-ffhq64": partial(_FFHQ, "ffhq64", "folder:data/ffhq-64", gamma=2.0),
    "r3gan-ffhq256": partial(_FFHQ, "ffhq256", "folder:data/ffhq-256", gamma=150.0),
    "r3gan-imagenet32": partial(_IMAGENET, "imagenet32", "folder:data/imagenet-32", gamma=0.5, p=0.5),
    "r3gan-imagenet64": partial(_IMAGENET, "imagenet64", "folder:data/imagenet-64", gamma=1.0, p=0.4),
}
