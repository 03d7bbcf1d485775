"""Transfers between families, through files: the plan asks, says what it is, and the weights that come out load."""

from __future__ import annotations

import dataclasses
import json

import jax
import numpy as np
import pytest

import gan_jax
from gan_jax.config import (
    Config,
    DCGANConfig,
    FinetuneConfig,
    LossConfig,
    PairedTask,
    ResNetConfig,
    TranslatorConfig,
    UNetConfig,
    UnpairedTask,
)
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


UNET = UNetConfig(16, 1, 1, width=4, depth=4, d_width=4, d_layers=1)
PAIRED = Config(net=UNET, task=PairedTask(), loss=LossConfig("least_squares"))
UNPAIRED = TranslatorConfig(16, 1, 1, width=4, blocks=1, d_width=4, d_layers=1)


def test_a_decoder_becomes_that_of_a_translator(tmp_path):
    dcgan = transplant_weights("embedded:fashion16", DCGAN, tmp_path / "dcgan", unused="drop", probes=0)
    result = transplant_weights(str(tmp_path / "dcgan"), UNET, tmp_path / "unet", unused="drop")
    assert result.measured == "not measured: networks of latents and networks of images have no common probes"
    assert result.plan.notes == (
        "DCGAN -> UNet: leaves are moved by their role and the function is not preserved; the shares say how much",
    )
    old, new = dcgan.variables["g_ema"]["params"], result.variables["g_ema"]["params"]
    np.testing.assert_array_equal(new["up2"]["conv"]["kernel"][:, :, :8], old["b8"]["kernel"][..., :4])
    np.testing.assert_array_equal(new["to_rgb"]["conv"]["kernel"], old["to_rgb"]["kernel"][:, :, :4])
    np.testing.assert_array_equal(new["to_rgb"]["skip"]["kernel"], 0)
    images = np.zeros((2, 16, 16, 1), np.uint8)
    assert gan_jax.load(tmp_path / "unet").translate(images).shape == (2, 16, 16, 1)
    text = gan_jax.provenance(tmp_path / "unet", "g_ema/params/up2/conv/kernel")
    assert "<- g_ema/params/b8/kernel @" in text and "<- g_ema/params/b8/conv0/kernel @" in text, "the whole chain"


def test_runs_that_translate_start_from_a_pair_of_another_task():
    transfer = FinetuneConfig(source="embedded:fashion16", unused="drop")
    paired = plan_transfer(dataclasses.replace(PAIRED, transfer=transfer))
    taken = {entry.target: entry.sources for entry in paired.entries if entry.sources}
    assert taken["g/params/up2/conv/kernel"] == ("g_ema/params/b8/conv0/kernel",)
    assert taken["d/params/layer1/conv/kernel"] == ("d/params/b8/conv1/kernel",)
    two = plan_transfer(dataclasses.replace(PAIRED, net=UNPAIRED, task=UnpairedTask(), transfer=transfer))
    taken = {entry.target: entry.sources for entry in two.entries if entry.sources}
    for root in ("g_ab", "g_ba"):
        assert taken[f"{root}/params/up1/conv/kernel"] == ("g_ema/params/b16/conv0/kernel",)
    for root in ("d_a", "d_b"):
        assert taken[f"{root}/params/from_rgb/conv/kernel"] == ("d/params/from_rgb/kernel",)
