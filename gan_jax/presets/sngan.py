"""SNGAN (Miyato et al., 2018): the configuration of the mimicry implementation.

Hinge loss, 5 updates of D for each of G, Adam with betas 0 and 0.9, a step size that falls linearly to 0 over 100
thousand updates of G. Samples come from G itself, without a moving average.
"""

from __future__ import annotations

from collections.abc import Callable

from gan_jax.config import Config, DataConfig, EMAConfig, LossConfig, OptimConfig, SNGANConfig, TrainConfig


def cifar() -> Config:
    """Makes the configuration for CIFAR-10 and other sets of 32 px."""
    batch, d_steps, updates = 64, 5, 100_000
    return Config(
        data=DataConfig(source="tfds:cifar10:train"),
        net=SNGANConfig(),
        loss=LossConfig("hinge"),
        optim=OptimConfig(lr=2e-4, b1=0.0, b2=0.9, schedule="linear"),
        ema=EMAConfig(half_life_kimg=0.0, rampup=None),
        train=TrainConfig(kimg=batch * d_steps * updates / 1000, batch=batch, d_steps=d_steps),
    )


PRESETS: dict[str, Callable[[], Config]] = {"sngan-cifar": cifar}
