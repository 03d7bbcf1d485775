"""A whole run of MineGAN, resumed to the bit; its weights are sampled through their miner, and nothing drops it unasked."""

from __future__ import annotations

import dataclasses
import json

import jax
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from gan_jax import load
from gan_jax.cli.main import main
from gan_jax.config import FinetuneConfig, MineGANConfig, MLPConfig
from gan_jax.interop.exporters import ExportError, export_file
from gan_jax.interop.programs import sampler_of
from gan_jax.nets.build import build
from gan_jax.surgery import PlanError
from gan_jax.tasks.sample import make_sampler
from gan_jax.transfer.methods.minegan import make as minegan
from gan_jax.transfer.run import Callbacks, plan_transfer, run
from tests.train.checkpoint_states import assert_same
from tests.train.toy import run_config, save_pairs

NET = MLPConfig(resolution=16, channels=1, z_dim=4, g_widths=(8,), d_widths=(8,))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with two donors, and what it was told of."""
    folder = tmp_path_factory.mktemp("mined")
    save_pairs(folder, NET)
    transfer = MineGANConfig(
        source=str(folder / "first"),
        donors=(str(folder / "second"),),
        mine_kimg=0.032,
        miner_width=9,
        selection_rate=30.0,
    )
    config = dataclasses.replace(run_config(f"npz:{folder / 'data.npz'}", kimg=0.112, devices=1), net=NET)
    config = dataclasses.replace(config, transfer=transfer)
    watch = _Notes()
    return folder, config, run(config, folder / "whole", watch), watch


@pytest.mark.slow
def test_it_resumes_to_the_bit_and_reads_nothing_of_its_sources(finished):
    folder, config, whole, _ = finished
    with pytest.raises(_Stops.Broken):
        run(config, folder / "cut", _Stops())
    for name in ("first", "second"):
        (folder / name).rename(folder / f"{name} moved")
    try:
        assert_same(run(config, folder / "cut").state, whole.state)
    finally:
        for name in ("first", "second"):
            (folder / f"{name} moved").rename(folder / name)


def test_the_choice_is_recorded(finished):
    folder, config, whole, watch = finished
    record = json.loads((folder / "whole" / "prepared.json").read_text())
    assert [row["images"] for row in record["mined"]] == [16, 32] and int(whole.state.images) == 112
    assert all(abs(row["p0"] + row["p1"] - 1) < 1e-6 for row in record["mined"])
    assert record["chosen"] == record["sources"][int(np.argmax(record["p"]))]
    assert any(record["chosen"] in note and "chosen by mining" in note for note in watch.notes)
    step = load(folder / "whole").manifest["history"][0]
    assert step["source"]["name"] == record["chosen"] and "chosen by mining" in step["chosen"]


def test_sampling_and_evaluation_make_the_same_images(finished, tmp_path):
    folder, config, whole, _ = finished
    key = jax.random.key(3)
    evaluated = make_sampler(whole.pair)(whole.state.ema["g"], key, 6)
    assert_array_equal(load(folder / "whole").sample(key, 6), evaluated)
    assert main(["sample", str(folder / "whole"), "--n", "6", "--seed", "3", "--out", str(tmp_path / "x.npz")]) == 0
    assert_array_equal(np.load(tmp_path / "x.npz")["images"], evaluated)
    plain = minegan(config.transfer, build(NET)).plain("g", whole.state.ema["g"])
    assert (make_sampler(build(NET))(plain, key, 6) != evaluated).any()  # without the miner they are others


def test_nothing_leaves_the_miner_behind_unasked(finished, tmp_path):
    folder, config, whole, _ = finished
    model = load(folder / "whole")
    with pytest.raises(ExportError, match="carry 'g_ema/params/graft/miner/fc0/bias' and more before G"):
        export_file(tmp_path / "x.safetensors", model.config, model.variables)
    with pytest.raises(ValueError, match="these weights have a front before G"):
        sampler_of(model.config, model.variables["g_ema"])
    program = sampler_of(model.config, model.variables["g_ema"], front=model.manifest["front"])
    z = jax.random.normal(jax.random.key(0), (3, 4))
    want = model.pair.g.apply(model.variables["g_ema"], z)[0]
    got = np.asarray(program.function(z), np.float32) / 127.5 - 1
    np.testing.assert_allclose(got, want, atol=1 / 127)
    further = dataclasses.replace(config, transfer=FinetuneConfig(source=str(folder / "whole")))
    with pytest.raises(PlanError, match="carries a miner before its G.*unused"):
        plan_transfer(further)
    taken = plan_transfer(dataclasses.replace(further, transfer=dataclasses.replace(further.transfer, unused="drop")))
    assert any("graft/miner" in path for path in taken.unused)


class _Notes(Callbacks):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


class _Stops(_Notes):
    class Broken(RuntimeError):
        pass

    def row(self, row):
        if row["images"] >= 96:
            raise self.Broken
