"""What each method trains moves in five steps, all else is equal to the bit, and eight devices do the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gan_jax.config import (
    AdaFMConfig,
    EWCConfig,
    FeatureDistillationConfig,
    FinetuneConfig,
    FreezeDConfig,
    FreezeGConfig,
    FSGANConfig,
    KMLConfig,
    L2SPConfig,
    LoRAConfig,
    MineGANConfig,
    ScaleShiftConfig,
)
from tests.lanes import default_rows
from tests.train.toy import build_toy
from tests.transfer.methods import conformance as ask
from tests.transfer.methods.convolved import build_convolved

FIRST_OF_D = ("d/params/from_rgb/", "d/params/b4/")
GATED = tuple(f"g/params/adapter/{name}/kernel/" for name in ("b8", "to_rgb"))


def below(*prefixes: str) -> Callable[[str], bool]:
    """Whether a path begins with one of these."""
    return lambda path: path.startswith(prefixes)


def beside(*prefixes: str) -> Callable[[str], bool]:
    """Whether a path begins with none of these."""
    return lambda path: not path.startswith(prefixes)


added = below("g/params/adapter/", "d/params/adapter/", "d/params/head/")
mine = below("g/params/graft/", "d/")
CASES: dict[str, tuple[Any, Any, Callable[[str], bool]]] = {
    "finetune": (FinetuneConfig(), build_toy, beside()),
    "freeze_d": (FreezeDConfig(blocks=1), build_toy, beside(*FIRST_OF_D)),
    "freeze_g": (FreezeGConfig(blocks=1), build_toy, beside("g/params/stem/")),
    "lora": (LoRAConfig(d_adapted=True), build_convolved, added),
    "kml": (KMLConfig(d_adapted=True), build_convolved, added),
    "fsgan": (FSGANConfig(), build_convolved, lambda path: path.endswith("/gain")),
    "adafm": (AdaFMConfig(d_blocks=1, fresh_blocks=0), build_convolved, below(*GATED, "d/params/head/")),
    "scale_shift": (ScaleShiftConfig(), build_toy, below("g/params/norm0/", "d/params/")),
    "scale_shift, D frozen": (ScaleShiftConfig(d_frozen=True), build_toy, below("g/params/norm0/", "d/params/head/")),
    "l2_sp": (L2SPConfig(strength=0.5, d_strength=0.25), build_toy, beside()),
    "ewc": (EWCConfig(strength=3.0, samples=16), build_toy, beside()),
    "feature_distillation": (FeatureDistillationConfig(strength=2.0), build_toy, beside()),
    "minegan": (MineGANConfig(mine_kimg=0.0, miner_width=10), build_toy, beside()),
    "minegan, G frozen": (MineGANConfig(mine_kimg=0.0, miner_width=10, finetune=False), build_toy, mine),
}


@pytest.mark.parametrize("name", default_rows(CASES, []))
def test_what_is_trained_moves_and_nothing_else(name, monkeypatch):
    transfer, builder, moves = CASES[name]
    monkeypatch.setattr("gan_jax.nets.resnet.make", builder)
    begun = ask.conform(ask.make_config(transfer))
    ask.assert_only(begun, moves)
    ask.assert_same_on_devices(begun)
