"""Synthetic faces to celebrities (near) and to cats (far) at 64 px, all three from published generators."""

from __future__ import annotations

from recipe import base, methods

from gan_jax.config import DataConfig, DCGANConfig
from gan_jax.transfer.benchmark import BenchmarkConfig, Target


def config() -> BenchmarkConfig:
    """The source is the pair of experiments/digiface_d; targets are samples, README has their commands."""
    return BenchmarkConfig(
        title="Synthetic faces to celebrities, and to cats",
        base=base(DCGANConfig(channel_base=2048), kimg=51.2, batch=32, features="alexnet", n_fake=2000),
        sources={"digiface": "runs/digiface/pair"},
        targets={
            "celebrity": Target(DataConfig(source="npz:runs/transfer_data/celebrity.npz", reference=2000), "near"),
            "cat": Target(DataConfig(source="npz:runs/transfer_data/cat.npz", reference=2000), "far"),
        },
        methods=methods(),
        shots=(10, 100, 1000),
        seeds=(0, 1, 2, 3, 4),
        lpips="vgg16",
    )
