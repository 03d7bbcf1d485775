"""Clothing to boots (near) and to Kuzushiji (far) at 16 px: every method, 100 images, four seeds; for two CPU cores."""

from __future__ import annotations

import dataclasses
from typing import Any

from gan_jax.config import (
    METHOD_NAMES,
    AugmentConfig,
    Config,
    DataConfig,
    EMAConfig,
    EvalConfig,
    LogConfig,
    LossConfig,
    MethodConfig,
    OptimConfig,
    ResNetConfig,
    TrainConfig,
)
from gan_jax.transfer.benchmark import BenchmarkConfig, Target
from gan_jax.transfer.methods import METHODS

KIMG = 5.12  # 320 steps of 16 images


def config() -> BenchmarkConfig:
    """The pair never saw boots, and nothing like Kuzushiji, whose test split is read from $GAN_JAX_DATA."""
    kmnist = "npz:$GAN_JAX_DATA/kmnist-test/kmnist-test-imgs.npz"
    return BenchmarkConfig(
        title="Eight kinds of clothing to boots, and to Kuzushiji characters",
        base=base(),
        sources={"fashion16": "embedded:fashion16"},
        targets={
            "boot": Target(DataConfig(source="embedded:fashion-mnist", classes=(9,), reference=600), "near"),
            "kmnist": Target(DataConfig(source=kmnist, reference=2000), "far"),
        },
        methods=methods(),
        shots=(100,),
        seeds=(0, 1, 2, 3),
    )


def base() -> Config:
    """The recipe of the quickstart, in the source's own architecture."""
    return Config(
        net=ResNetConfig(resolution=16, channels=1, z_dim=64, channel_base=1024, channel_max=24),
        loss=LossConfig(name="relativistic"),
        augment=AugmentConfig(policy=("translation",)),
        optim=OptimConfig(lr=5e-4, b1=0.0, b2=0.9, schedule="linear"),
        ema=EMAConfig(half_life_kimg=1.0, rampup=0.3),
        train=TrainConfig(kimg=KIMG, batch=16, steps_per_dispatch=16),
        evaluate=EvalConfig(every_kimg=1.024, n_fake=1000, stats_batches=8),
        log=LogConfig(tensorboard=False),
    )


def methods() -> dict[str, MethodConfig]:
    """Every method of the table, but for adaptation to a text, with what this scale asks for."""
    made: dict[str, Any] = {name: cls() for name, cls in METHOD_NAMES.items() if cls in METHODS and name != "nada"}
    return {name: dataclasses.replace(one, **SCALE.get(name, {})) for name, one in made.items()}


# What is published is for 2,000 and more steps of networks of 256 px; here there are 320 steps of 80,000 weights.
SCALE: dict[str, dict[str, Any]] = {
    "adafm": {
        "d_blocks": 1
    },  # of D's few blocks; two of 256 px are its image side, here they would be nearly all of it
    "minegan": {"mine_kimg": 1.024, "width": 128},  # a fifth of the budget; a hidden layer of twice the latents
    "l2_sp": {"strength": 0.1},  # a sum over 80,000 weights, not over tens of millions
    "ewc": {
        "balance": 0.01
    },  # Fisher information has the scale of the network: a move of 10 % costs 1, as the game does
    "adam": {"probe_kimg": 1.024, "probe_samples": 256},  # a fifth of the budget, as 500 of the paper's steps are
    "rick": {  # the paper's 250, 50 and 1,750 steps in proportion
        "warmup_kimg": 0.768,
        "every": 10,
        "batches": 2,  # 32 images for each estimate; there are as many estimates as in the paper
        "prune": 1.0,  # of filters that are few: 0.1 % would be none
    },
}
