"""Lengths of stages before the run proper: default ones give way to a short run, typed ones never."""

from __future__ import annotations

import dataclasses

import pytest

from gan_jax.config import (
    AttentionFusionConfig,
    Config,
    FeatureFusionConfig,
    GradientFusionConfig,
    MineGANConfig,
    RootingConfig,
    TrainConfig,
)
from gan_jax.config.stages import leaves_nothing, shorten_stages, stages_of

TRAIN = TrainConfig(kimg=0.5, batch=8, steps_per_dispatch=2)  # a dispatch is 16 images


def config_of(transfer, **train) -> Config:
    return Config(train=dataclasses.replace(TRAIN, **train), transfer=transfer)


@pytest.mark.parametrize(
    "transfer, lengths",
    [
        (GradientFusionConfig(), {"fuse_kimg": 0.256}),
        (MineGANConfig(), {"mine_kimg": 0.256}),
        (AttentionFusionConfig(), {"fuse_kimg": 0.256}),
        (AttentionFusionConfig(collapse="distil"), {"fuse_kimg": 0.16, "distil_kimg": 0.08}),
        (FeatureFusionConfig(), {"fuse_kimg": 0.128, "distil_kimg": 0.128}),
        (RootingConfig(donors=("a", "b")), {"root_kimg": 0.128}),
    ],
    ids=lambda value: type(value).__name__ if dataclasses.is_dataclass(value) else "",
)
def test_default_stages_take_half_of_a_short_run_and_say_it(transfer, lengths):
    config, (line,) = shorten_stages(config_of(transfer), ())
    assert {stage.name: stage.kimg for stage in stages_of(config.transfer)} == lengths
    assert not leaves_nothing(config)
    for name, kimg in lengths.items():
        assert f"transfer.{name} {kimg:g} in place of {getattr(transfer, name):g}" in line
    assert "since train.kimg is 0.5" in line and "left to fine-tune" in line


def test_what_was_typed_stays_and_what_fits_is_not_touched():
    typed = config_of(GradientFusionConfig())
    assert shorten_stages(typed, {"transfer.fuse_kimg"}) == (typed, ()), "typed, though it is the default"
    own = config_of(GradientFusionConfig(fuse_kimg=0.75))
    assert shorten_stages(own, ()) == (own, ())
    fits = config_of(GradientFusionConfig(), kimg=1.1)
    assert shorten_stages(fits, ()) == (fits, ())
    half = config_of(FeatureFusionConfig(fuse_kimg=0.4))
    config, (line,) = shorten_stages(half, {"transfer.fuse_kimg"})
    assert config.transfer == FeatureFusionConfig(fuse_kimg=0.4, distil_kimg=0.048) and "fuse_kimg" not in line


def test_a_run_of_too_few_dispatches_is_not_changed_but_told_what_helps():
    one = config_of(GradientFusionConfig(), kimg=0.1, batch=32, steps_per_dispatch=8)
    assert shorten_stages(one, ()) == (one, ())
    with pytest.raises(ValueError, match="nothing would be left.*train.steps_per_dispatch 8 batches of 32: use fewer"):
        one.validate()
