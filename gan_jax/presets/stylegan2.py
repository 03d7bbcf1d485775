"""StyleGAN2 and StyleGAN2-ADA (Karras et al., 2020): the configurations of the official ADA implementation.

All have the non-saturating loss, R1 every 16 updates of D, path lengths every 4 of G (not for CIFAR), Adam with betas 0
and 0.99, style mixing in 9 of 10 images (not for CIFAR), and ADA "bgc" with target 0.6, which reaches p = 1 in 500
thousand images at the earliest. Minibatch sizes are over all devices. The four highest resolutions compute in half
precision, bfloat16 here for float16 there. 25 million images are the implementation's default length.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from gan_jax.config import (
    AugmentConfig,
    Config,
    DataConfig,
    EMAConfig,
    LossConfig,
    OptimConfig,
    StyleGAN2Config,
    TrainConfig,
)

FMAPS = 32768  # channel_base of a factor of 1


def auto(resolution: int, gpus: int = 1) -> Config:
    """Makes the "auto" configuration from the resolution in px and the number of GPUs."""
    batch = max(min(gpus * min(4096 // resolution, 32), 64), gpus)
    return _config(
        resolution, batch, group=min(batch // gpus, 4), fmaps=1.0 if resolution >= 512 else 0.5,
        lr=0.002 if resolution >= 1024 else 0.0025, gamma=0.0002 * resolution**2 / batch, ema=batch * 10 / 32,
        mapping=2, rampup=0.05,
    )  # fmt: skip


def cifar() -> Config:
    """Makes the configuration for CIFAR-10: plain discriminator, no path lengths, no style mixing, 100 million images."""
    base = _config(32, 64, group=32, fmaps=1.0, lr=0.0025, gamma=0.01, ema=500.0, mapping=2, rampup=0.05)
    net: Any = base.net
    return dataclasses.replace(
        base,
        data=DataConfig(source="tfds:cifar10:train"),
        net=dataclasses.replace(net, style_mixing=0.0, discriminator="orig"),
        loss=dataclasses.replace(base.loss, path_length=0.0),
        train=dataclasses.replace(base.train, kimg=100_000.0),
    )


def _config(
    resolution: int, batch: int, *, group: int, fmaps: float, lr: float, gamma: float, ema: float, mapping: int,
    rampup: float | None = None, ada: Literal["bgc"] | None = "bgc",
) -> Config:  # fmt: skip
    net = StyleGAN2Config(
        resolution=resolution, mapping_layers=mapping, channel_base=int(FMAPS * fmaps), mbstd_group=group,
        clamp=256.0, low_precision=4, dtype="bfloat16",
    )  # fmt: skip
    return Config(
        data=DataConfig(source=f"folder:data/images-{resolution}"),
        net=net,
        loss=LossConfig("non_saturating", r1_gamma=gamma, penalty_interval=16, path_length=2.0),
        augment=AugmentConfig(ada=ada),
        optim=OptimConfig(lr=lr, b1=0.0, b2=0.99),
        ema=EMAConfig(half_life_kimg=ema, rampup=rampup),
        train=TrainConfig(kimg=25_000.0, batch=batch),
    )


PRESETS: dict[str, Callable[[], Config]] = {
    **{f"stylegan2-ada-{r}-auto": partial(auto, r) for r in (64, 128, 256, 512, 1024)},
    "stylegan2-ada-cifar": cifar,
    "stylegan2-ada-paper256": partial(_config, 256, 64, group=8, fmaps=0.5, lr=0.0025, gamma=1.0, ema=20.0, mapping=8),
    "stylegan2-ada-paper512": partial(_config, 512, 64, group=8, fmaps=1.0, lr=0.0025, gamma=0.5, ema=20.0, mapping=8),
    "stylegan2-ada-paper1024": partial(_config, 1024, 32, group=4, fmaps=1.0, lr=0.002, gamma=2.0, ema=10.0, mapping=8),
    # The configuration of StyleGAN2 itself, which has no augmentation.
    "stylegan2-1024": partial(
        _config, 1024, 32, group=4, fmaps=1.0, lr=0.002, gamma=10.0, ema=10.0, mapping=8, ada=None
    ),
}
