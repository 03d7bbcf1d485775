"""BigGAN (Brock et al., ICLR 2019): the configurations of the BigGAN-PyTorch implementation.

On ImageNet D has two updates for each of G, as in the paper; the scripts of that implementation have one. Hinge loss, Adam
with betas 0 and 0.999. An update of G counts batch x D steps images here, since each update of D reads other images;
half-lives and lengths follow from that. The moving average of G starts at once; there it starts after 20 thousand updates.
Its first weights have no effect at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from gan_jax.config import Config, DataConfig, EMAConfig, LossConfig, OptimConfig, TrainConfig
from gan_jax.nets.biggan import PRESETS as NETS

EMA = 0.9999  # decay per update of G


def _config(
    name: str, source: str, *, batch: int, d_steps: int, lr: float, d_lr: float | None, eps: float, updates: int
) -> Config:
    kimg_per_update = batch * d_steps / 1000  # thousand images in an update of G
    return Config(
        data=DataConfig(source=source),
        net=NETS[name],
        loss=LossConfig("hinge"),
        optim=OptimConfig(lr=lr, d_lr=d_lr, b1=0.0, b2=0.999, eps=eps),
        ema=EMAConfig(half_life_kimg=kimg_per_update * math.log(0.5) / math.log(EMA), rampup=None),
        train=TrainConfig(kimg=updates * kimg_per_update, batch=batch, d_steps=d_steps),
    )


_IMAGENET = partial(_config, batch=2048, d_steps=2, lr=1e-4, d_lr=4e-4, eps=1e-6, updates=150_000)
# 500 epochs of 50 thousand images, 200 of them in an update of G
_CIFAR = partial(_config, batch=50, d_steps=4, lr=2e-4, d_lr=None, eps=1e-8, updates=125_000)

PRESETS: dict[str, Callable[[], Config]] = {
    "biggan-cifar10": partial(_CIFAR, "cifar10", "tfds:cifar10:train"),
    "biggan-cifar100": partial(_CIFAR, "cifar100", "tfds:cifar100:train"),
    "biggan-128": partial(_IMAGENET, "imagenet128", "folder:data/imagenet-128"),
    "biggan-256": partial(_IMAGENET, "imagenet256", "folder:data/imagenet-256"),
    "biggan-512": partial(_IMAGENET, "imagenet512", "folder:data/imagenet-512"),
}
