"""Transfers between families, through files: the plan asks, says what it is, and the weights that come out load."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

import gan_jax
from gan_jax.config import Config, DCGANConfig, FinetuneConfig, ResNetConfig
from gan_jax.surgery import PlanError
from gan_jax.transfer.start import plan_transfer
from gan_jax.transfer.weights import transplant_weights

DCGAN = DCGANConfig(resolution=16, channels=1, z_dim=64, channel_base=1024, channel_max=8)


def test_a_plan_across_asks_and_says_what_it_is():
    config = lambda **options: Config(net=DCGAN, transfer=FinetuneConfig(source="embedded:fashion16", **options))
    with pytest.raises(PlanError, match="source leaf 'd/params/.*is read by nothing.*unused='drop'"):
        plan_transfer(config())
    plan = plan_transfer(config(unused="drop"))
    assert any(note.startswith("ResNet -> DCGAN: ") and "not preserved" in note for note in plan.notes)
    assert "g_ema/params/b8/conv0/kernel" in plan.needed and "d/params/b8/conv1/kernel" in plan.needed
    within = Config(transfer=FinetuneConfig(source="embedded:fashion16"))
    assert not any("->" in note for note in plan_transfer(within).notes)


def test_weights_go_there_and_back(tmp_path):
    there = transplant_weights("embedded:fashion16", DCGAN, tmp_path / "dcgan", unused="drop", probes=0)
    assert there.plan.totals["fresh"] < 0.05 * sum(there.plan.totals.values()), (
        "all roles of so small a DCGAN are there"
    )
    images = gan_jax.load(str(tmp_path / "dcgan")).sample(jax.random.key(0), 2)
    assert np.asarray(images).shape == (2, 16, 16, 1)
    config = ResNetConfig(resolution=16, channel_max=8)
    back = transplant_weights(str(tmp_path / "dcgan"), config, tmp_path / "resnet", unused="drop", probes=0)
    manifest = json.loads(next((tmp_path / "resnet").glob("*.json")).read_text())
    assert any("DCGAN -> ResNet" in note for note in manifest["history"][-1]["notes"])
    one, two = there.variables["g_ema"]["params"], back.variables["g_ema"]["params"]
    np.testing.assert_array_equal(one["b4"]["kernel"], two["stem"]["kernel"])
