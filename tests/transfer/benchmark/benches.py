"""A benchmark of a tiny pair on random images, whose trials take a second."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import numpy as np

from gan_jax.config import (
    Config,
    DataConfig,
    EvalConfig,
    FreezeDConfig,
    LossConfig,
    MLPConfig,
    OptimConfig,
    ScratchConfig,
    TrainConfig,
)
from gan_jax.nets import build
from gan_jax.tasks.model import save
from gan_jax.transfer.benchmark import BenchmarkConfig, Target

NET = MLPConfig(resolution=16, channels=1, z_dim=4, g_widths=(8, 8), d_widths=(8, 8, 8, 8))
BASE = Config(
    net=NET,
    loss=LossConfig(name="non_saturating"),  # hinge has gradients that cancel, whose last bits Adam makes large
    optim=OptimConfig(lr=1e-3),
    train=TrainConfig(kimg=0.064, batch=8, steps_per_dispatch=2),
    evaluate=EvalConfig(every_kimg=0.032, n_fake=80, stats_batches=1),
)


def make_bench(folder: Path, **changes) -> BenchmarkConfig:
    """Two seeds of scratch and of Freeze-D on 6 of 96 random images."""
    images = np.random.default_rng(0).integers(0, 256, (96, 16, 16, 1), np.uint8)
    np.savez(folder / "images.npz", images=images)
    pair, key = build(NET), jax.random.key(0)
    save(folder / "source", NET, {"g_ema": pair.g.init(key), "d": pair.d.init(key)}, {})
    bench = BenchmarkConfig(
        title="Toys",
        base=BASE,
        sources={"toy": str(folder / "source")},
        targets={"noise": Target(DataConfig(source=f"npz:{folder}/images.npz", reference=80), "far")},
        methods={"scratch": ScratchConfig(), "freeze_d": FreezeDConfig(blocks=1)},
        shots=(6,),
        seeds=(0, 1),
    )
    return dataclasses.replace(bench, **changes)
