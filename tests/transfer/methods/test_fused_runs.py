"""Whole runs of fusion in features, of several teachers and of GAN Cocktail: recorded, plain, resumed to the bit."""

from __future__ import annotations

import dataclasses
import json

import jax
import pytest
from numpy.testing import assert_allclose

from gan_jax import load, provenance
from gan_jax.cli.fuse import show
from gan_jax.config import CocktailConfig, DistillationConfig, FeatureFusionConfig, LogConfig, MLPConfig, OptimConfig
from gan_jax.nets.build import build
from gan_jax.transfer.distilling import distillation_optim
from gan_jax.transfer.record import Callbacks
from gan_jax.transfer.run import run
from gan_jax.trees import flatten
from tests.lanes import default_rows
from tests.train.checkpoint_states import assert_same
from tests.train.toy import run_config, save_pairs
from tests.transfer.methods.resumed import Stops

NET = MLPConfig(resolution=16, channels=1, z_dim=4, g_widths=(8,), d_widths=(8,))
METHODS = {
    "features": FeatureFusionConfig(fuse_kimg=0.032, distil_kimg=0.016, attention_width=4, drop=0.0),
    "aff": FeatureFusionConfig(fuse_kimg=0.016, distil_kimg=0.016, way="aff", points=("fc0",), drop=0.0),
    "teachers": DistillationConfig(distil_kimg=0.032),
    "cocktail": CocktailConfig(root_kimg=0.032),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    save_pairs(folder, NET)
    return folder


@pytest.mark.parametrize("name", default_rows(METHODS, []))
def test_a_run_leaves_a_plain_pair_that_says_where_it_is_from(sources, tmp_path, name):
    transfer = dataclasses.replace(METHODS[name], source=str(sources / "first"), donors=(str(sources / "second"),))
    config = dataclasses.replace(
        run_config(f"npz:{sources / 'data.npz'}", kimg=0.112, devices=1), net=NET, transfer=transfer
    )
    whole = run(config, tmp_path / "whole")
    record = json.loads((tmp_path / "whole" / "prepared.json").read_text())["fusion"]
    assert dataclasses.replace(whole, record=None).prepared == whole.prepared, "in memory as in the folder"
    assert record["target"].endswith("first") and record["donors"][0]["donor"].endswith("second")
    assert int(whole.state.images) == 112, "the stages' images count"
    for g in (whole.state.nets["g"], whole.state.ema["g"]):
        assert set(g) == {"params"}
        assert set(g["params"]) == set(build(NET).g.specs()["params"])
    assert whole.state.constants == {}
    text = provenance(tmp_path / "whole", "g_ema/params/fc0/kernel")
    assert "fused with" in text and "second" in text
    lines = show(tmp_path / "whole", whole.prepared["fusion"])
    assert lines[0] == "donors were taken in the order of their own channels" and "heat map" in "".join(lines)
    assert (tmp_path / "whole" / "fusion.png").exists()
    assert (tmp_path / "whole" / "shares.png").exists() == (name in ("features", "aff"))
    assert load(tmp_path / "whole").sample(jax.random.key(0), 2).shape == (2, 16, 16, 1)


@pytest.mark.slow
def test_features_resume_to_the_bit_and_read_no_donor(sources, tmp_path):
    names = {"source": str(sources / "first"), "donors": (str(sources / "second"),)}
    config = run_config(f"npz:{sources / 'data.npz'}", kimg=0.112, devices=1)
    config = dataclasses.replace(config, net=NET, transfer=dataclasses.replace(METHODS["features"], **names))
    whole = run(config, tmp_path / "whole")
    with pytest.raises(Stops.Broken):
        run(config, tmp_path / "cut", Stops())
    (sources / "second").rename(sources / "moved")
    try:
        assert_same(run(config, tmp_path / "cut").state, whole.state)  # a resumed run reads no donor
    finally:
        (sources / "moved").rename(sources / "second")


class Interrupted(Callbacks):
    """Ctrl-C in the stage, or while the run proper is compiled."""

    def __init__(self, where: str):
        self.where, self.notes, self.grids = where, [], []

    def grid(self, images, samples):
        self.grids.append(images)

    def note(self, text):
        self.notes.append(text)

    def stage(self, name, images, total, metrics):
        if self.where == "stage" and images:
            raise KeyboardInterrupt

    def compiling(self):
        if self.where == "compiling":
            raise KeyboardInterrupt


def test_what_ctrl_c_keeps_of_a_stage_is_said_and_goes_on_to_the_bit(sources, tmp_path):
    names = {"source": str(sources / "first"), "donors": (str(sources / "second"),)}
    config = run_config(f"npz:{sources / 'data.npz'}", kimg=0.064, devices=1)
    transfer = DistillationConfig(**names, distil_kimg=0.032)
    config = dataclasses.replace(config, net=NET, transfer=transfer, log=LogConfig(grid_every_kimg=0.032))
    undisturbed = Interrupted("nowhere")
    whole = run(config, tmp_path / "whole", undisturbed)
    in_stage, compiling = Interrupted("stage"), Interrupted("compiling")
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "cut", in_stage)
    assert "stopped in a stage before the run (distillation, 16 of 32 images)" in in_stage.notes[-1]
    assert "the same command begins it again; nothing new is left" in in_stage.notes[-1]
    assert not (tmp_path / "cut").exists()
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "cut", compiling)
    assert "what the stages before the run trained is kept" in compiling.notes[-1]
    assert "(checkpoint of 32 images): gan-jax train" in compiling.notes[-1]
    rest = Interrupted("nowhere")
    assert_same(run(config, tmp_path / "cut", rest).state, whole.state)
    assert "resumed at 32 images" in rest.notes
    assert rest.grids == undisturbed.grids, "nothing is drawn that an undisturbed run does not draw"


def test_an_error_behind_a_stage_leaves_nothing(sources, tmp_path):
    class Broken(Interrupted):
        def compiling(self):
            raise RuntimeError("no memory")

    names = {"source": str(sources / "first"), "donors": (str(sources / "second"),)}
    config = run_config(f"npz:{sources / 'data.npz'}", kimg=0.064, devices=1)
    config = dataclasses.replace(config, net=NET, transfer=DistillationConfig(**names, distil_kimg=0.032))
    with pytest.raises(RuntimeError):
        run(config, tmp_path / "cut", Broken("nowhere"))
    assert not (tmp_path / "cut").exists()


@pytest.mark.slow
def test_a_lesson_has_a_step_size_of_its_own(sources, tmp_path):
    """The run's would teach nothing here, and D, which does not play, stays; then everything goes at the run's."""
    names = {"source": str(sources / "first"), "donors": (str(sources / "second"),)}
    transfer = DistillationConfig(**names, distil_kimg=0.256, distil_lr=0.01, by="chance")
    config = run_config(f"npz:{sources / 'data.npz'}", kimg=0.272, devices=1)
    config = dataclasses.replace(config, net=NET, transfer=transfer, optim=dataclasses.replace(config.optim, lr=1e-12))
    done = run(config, tmp_path)
    rows = json.loads((tmp_path / "prepared.json").read_text())["fusion"]["taught"]
    assert rows[-1]["l1"] < 0.9 * rows[0]["l1"]
    source = load(sources / "first").variables
    for path, leaf in flatten(done.state.nets["d"]["params"]).items():
        assert_allclose(leaf, flatten(source["d"]["params"])[path], atol=1e-6)


def test_a_lesson_ends_slowly_and_a_game_has_its_own_moments():
    game = OptimConfig(lr=3e-4, b1=0.0, b2=0.9, warmup_kimg=1.0)
    lesson = distillation_optim(game, 5e-3)
    assert (lesson.lr, lesson.b1, lesson.b2, lesson.schedule) == (5e-3, 0.9, 0.999, "linear")
    assert lesson.warmup_kimg == game.warmup_kimg and game.b1 == 0.0
