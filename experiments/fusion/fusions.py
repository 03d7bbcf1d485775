"""The common parts of all benchmarks of this folder: data, budget, and every method that fuses pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from donor import NET

from gan_jax.config import (
    AttentionFusionConfig,
    CocktailConfig,
    DataConfig,
    DistillationConfig,
    FeatureFusionConfig,
    FinetuneConfig,
    GradientFusionConfig,
    MergeConfig,
    MethodConfig,
    MineGANConfig,
    NetConfig,
    ScratchConfig,
)
from gan_jax.transfer.benchmark import BenchmarkConfig, Target
from gan_jax.transfer.recipes import short

LOW, HIGH = "runs/fusion/low", "runs/fusion/high"  # pairs of donor.py: digits 0 to 4, and 5 to 9
KUZUSHIJI = "npz:$GAN_JAX_DATA/kmnist-test/kmnist-test-imgs.npz"
MAIN = ("finetune", "uniform", "gradient", "attention", "distillation")
KIMG = 10.24
STAGE = 3.072  # of the budget, for a stage of fusion
DISTIL = 7.68  # of the budget, for distillation: the student begins far from the images of its teachers
CHOICE: dict[str, Any] = {  # the latent decides which network makes its image: mixing weights of networks near 0 or 1
    "query": "latent", "with_source": True, "granularity": "global", "gate": 1.0, "temperature": 0.05,
    "temperature_end": 0.02, "collapse": "distil", "fuse_kimg": 0.256, "distil_kimg": DISTIL,
}  # fmt: skip


def on_digits(
    title: str, source: str, methods: Mapping[str, MethodConfig], *, kimg: float = KIMG, seeds: int = 3
) -> BenchmarkConfig:
    """A benchmark on 100 images of all digits, measured with the feature network of digits."""
    return BenchmarkConfig(
        title=title,
        base=short(NET, kimg=kimg, features="lenet-mnist"),
        sources={source.rpartition("/")[2]: source},
        targets={"digits": Target(DataConfig(source="idx:$GAN_JAX_DATA/mnist:test", reference=5000), "near")},
        methods=methods,
        seeds=tuple(range(seeds)),
        baseline="finetune",
    )


def on_kuzushiji(title: str, net: NetConfig, source: str, methods: Mapping[str, MethodConfig]) -> BenchmarkConfig:
    """A benchmark on 100 images of another script, measured with the feature network of clothing."""
    return BenchmarkConfig(
        title=title,
        base=short(net, kimg=KIMG),
        sources={source.rpartition("/")[2]: source},
        targets={"kmnist": Target(DataConfig(source=KUZUSHIJI, reference=5000), "far")},
        methods=methods,
        seeds=(0, 1, 2),
        baseline="finetune",
    )


def methods(donors: tuple[str, ...]) -> dict[str, MethodConfig]:
    """Both weight fusions, and the methods that they are compared with."""
    return {
        "scratch": ScratchConfig(),
        "finetune": FinetuneConfig(),
        "uniform": MergeConfig(donors=donors),
        "gradient": gradient(donors),
        "attention": AttentionFusionConfig(donors=donors, fuse_lr=0.02, **CHOICE),
        "feature_fusion": FeatureFusionConfig(donors=donors, fuse_kimg=1.024, distil_kimg=DISTIL - 1.024),
        "distillation": DistillationConfig(donors=donors, distil_kimg=DISTIL),
        "cocktail": CocktailConfig(donors=donors, root_kimg=STAGE),
        "minegan": MineGANConfig(donors=donors, mine_kimg=STAGE, miner_width=128),
    }


def merges(donors: tuple[str, ...]) -> dict[str, MethodConfig]:
    """Closed-form merges."""
    merge, origin = MergeConfig(donors=donors), {"base": "embedded:fashion16", "lam": 0.4}
    variants = {
        "best": {"merge": "best"},
        "uniform_as_they_are": {"align": "none", "scales": False},
        "slerp": {"merge": "slerp"},
        "task_arithmetic": {"merge": "task_arithmetic", **origin},
        "ties": {"merge": "ties", "base": "embedded:fashion16"},
        "fisher": {"merge": "fisher"},
        "regmean": {"merge": "regmean"},
        "greedy_soup": {"merge": "greedy_soup"},
        "layer_swap": {"merge": "layer_swap", "mid_px": 4, "transition": 1.0},
    }
    return {name: dataclasses.replace(merge, **options) for name, options in variants.items()}


def gradient(donors: tuple[str, ...]) -> GradientFusionConfig:
    """Learned mixing weights between 0 and 1 that begin at the source."""
    return GradientFusionConfig(donors=donors, fuse_kimg=STAGE, fuse_lr=0.02, constraint="box", start=0.0)


def ablations(donors: tuple[str, ...]) -> dict[str, MethodConfig]:
    """Both fusions with one part changed at a time."""
    gradient_config, attention = gradient(donors), AttentionFusionConfig(donors=donors, fuse_kimg=STAGE, fuse_lr=0.02)
    of_gradient = {
        "as_they_are": {"align": "none", "scales": False},
        "own_scales": {"scales": False},
        "global": {"granularity": "global"},
        "tensor": {"granularity": "tensor"},
        "channel": {"granularity": "channel"},
        "free": {"constraint": "free"},
        "simplex": {"constraint": "simplex", "start": None},
        "fisher": {"constraint": "simplex", "start": None, "init": "fisher"},
        "fused_d": {"d": "mix"},
        "preserving": {"preserve": 1.0},
    }
    of_attention = {
        "free": {},
        "mean": CHOICE | {"collapse": "mean", "fuse_kimg": STAGE},
        "block": CHOICE | {"granularity": "block"},
    }
    variants: dict[str, MethodConfig] = {}
    variants |= {
        f"gradient_{name}": dataclasses.replace(gradient_config, **options) for name, options in of_gradient.items()
    }
    variants |= {
        f"attention_{name}": dataclasses.replace(attention, **options) for name, options in of_attention.items()
    }
    return variants


def what_fits(donors: tuple[str, ...]) -> dict[str, MethodConfig]:
    """Some of the methods for donors of other architectures; leaves without a place in the target are dropped."""
    every = methods(donors) | ablations(donors)
    names = ("finetune", "uniform", "gradient", "attention_free", "distillation")
    return {name: dataclasses.replace(every[name], unused="drop") for name in names}
