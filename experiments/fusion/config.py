"""Two donors of disjoint digits into one pair of all digits (near), and of Kuzushiji (far), 100 images, three seeds."""

from __future__ import annotations

import dataclasses
from typing import Any

from donor import NET

from gan_jax.config import (
    AttentionFusionConfig,
    DataConfig,
    DistillationConfig,
    FeatureFusionConfig,
    FinetuneConfig,
    GradientFusionConfig,
    MergeConfig,
    MethodConfig,
    MineGANConfig,
    RootingConfig,
    ScratchConfig,
)
from gan_jax.transfer.benchmark import BenchmarkConfig, Target
from gan_jax.transfer.recipes import short

LOW, HIGH = "runs/fusion/low", "runs/fusion/high"  # what donor.py leaves: digits 0 to 4, and 5 to 9
KMNIST = "npz:$GAN_JAX_DATA/kmnist-test/kmnist-test-imgs.npz"


def config() -> BenchmarkConfig:
    """Every method begins with the donor of low digits; the others have the other one beside it."""
    return BenchmarkConfig(
        title="Two donors of disjoint digits: one pair of all of them, and of Kuzushiji",
        base=short(NET, kimg=5.12),
        sources={"low": LOW},
        targets={
            "digits": Target(DataConfig(source="idx:$GAN_JAX_DATA/mnist:test", reference=5000), "near"),
            "kmnist": Target(DataConfig(source=KMNIST, reference=5000), "far"),
        },
        methods=methods(),
        seeds=(0, 1, 2),
        baseline="finetune",
    )


def methods(donors: tuple[str, ...] = (HIGH,)) -> dict[str, MethodConfig]:
    """Baselines, merges, learned fusions, and what each part of these is worth."""
    learned: dict[str, Any] = {"donors": donors, "fuse_kimg": 1.024, "fuse_lr": 0.02}
    gradient, attention = GradientFusionConfig(**learned), AttentionFusionConfig(**learned)
    merge = MergeConfig(donors=donors)
    made: dict[str, MethodConfig] = {
        "scratch": ScratchConfig(),
        "finetune": FinetuneConfig(),
        "best": dataclasses.replace(merge, merge="best"),
        "uniform": merge,
        "uniform_as_they_are": dataclasses.replace(merge, align="none", scales=False),
        "slerp": dataclasses.replace(merge, merge="slerp"),
        "task_arithmetic": dataclasses.replace(merge, merge="task_arithmetic", base="embedded:fashion16", lam=0.4),
        "ties": dataclasses.replace(merge, merge="ties", base="embedded:fashion16"),
        "fisher": dataclasses.replace(merge, merge="fisher"),
        "regmean": dataclasses.replace(merge, merge="regmean"),
        "greedy_soup": dataclasses.replace(merge, merge="greedy_soup"),
        "layer_swap": dataclasses.replace(merge, merge="layer_swap", mid_px=4, transition=1.0),
        "minegan": MineGANConfig(donors=donors, mine_kimg=1.024, miner_width=128),
        "distillation": DistillationConfig(donors=donors, distil_kimg=1.024),
        "cocktail": RootingConfig(donors=donors, root_kimg=1.024),
        "gradient": gradient,
        "attention": attention,
        "feature_fusion": FeatureFusionConfig(donors=donors, fuse_kimg=0.512, distil_kimg=0.512),
    }
    ablations: dict[str, MethodConfig] = {
        "gradient_as_they_are": dataclasses.replace(gradient, align="none", scales=False),
        "gradient_own_scales": dataclasses.replace(gradient, scales=False),
        "gradient_global": dataclasses.replace(gradient, granularity="global"),
        "gradient_tensor": dataclasses.replace(gradient, granularity="tensor"),
        "gradient_channel": dataclasses.replace(gradient, granularity="channel"),
        "gradient_free": dataclasses.replace(gradient, constraint="free", start=0.5),
        "gradient_box": dataclasses.replace(gradient, constraint="box", start=0.0),
        "gradient_fisher": dataclasses.replace(gradient, init="fisher"),
        "gradient_fused_d": dataclasses.replace(gradient, d="mix"),
        "attention_latent": dataclasses.replace(attention, query="latent", per="batch"),
        "attention_tensor": dataclasses.replace(attention, granularity="tensor"),
    }
    return made | ablations
