"""The life of a run: what survives a failing evaluation, a failing start, being made longer, forked, or moved."""

from __future__ import annotations

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from gan_jax.config import CheckpointConfig, ConfigError, EvalConfig, LogConfig, OptimConfig
from gan_jax.train.checkpoint.storage import complete, read_manifest
from gan_jax.transfer.evaluation import Evaluator
from gan_jax.transfer.record import Callbacks
from gan_jax.transfer.run import run
from tests.train.checkpoint_states import assert_same
from tests.train.toy import build_toy, images, run_config


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    monkeypatch.setattr("gan_jax.nets.resnet.make", build_toy)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    np.savez(folder / "data.npz", images=images(80)[0])
    return f"npz:{folder / 'data.npz'}"


def config_of(source, kimg=0.064, **parts):
    """4 dispatches of 16 images, a save after each second one."""
    config = run_config(source, kimg=kimg, devices=1)
    return dataclasses.replace(config, **{"checkpoint": CheckpointConfig(every_kimg=0.032), **parts})


class Watch(Callbacks):
    """Writes down what it is told, and does something after a number of images."""

    def __init__(self, at=-1, act=lambda: None):
        self.at, self.act, self.notes, self.told = at, act, [], []

    def note(self, text):
        self.notes.append(text)

    def row(self, row):
        self.told.append(("row", row["images"]))
        if row["images"] == self.at:
            self.act()

    def pause(self, what):
        self.told.append(("pause", what))

    def evaluation(self, row):
        self.told.append(("evaluation", row["images"]))

    def done(self, evaluations):
        self.told.append(("done", len(evaluations)))


def written(folder, name="evaluations.jsonl"):
    path = folder / name
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_s")} for row in rows]


def manifest(folder):
    return json.loads((folder / "weights" / "manifest.json").read_text())


MEASURED = EvalConfig(every_kimg=0.032, n_fake=66, stats_batches=1)


def test_an_evaluation_that_fails_is_a_line_and_is_made_up_for(tmp_path, source, monkeypatch):
    folder, kept = tmp_path / "run", []

    def fails(self, g_vars):
        kept.append((complete(folder / "checkpoints"), (folder / "weights" / "manifest.json").exists()))
        raise np.linalg.LinAlgError("the covariance is singular")

    config = config_of(source, evaluate=MEASURED, checkpoint=CheckpointConfig(every_kimg=0.032, keep_best=True))
    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "sample", fails)
        watch = Watch()
        result = run(config, folder, watch)
    assert result.evaluation is None and not result.stopped
    assert kept[-1] == ([32, 64], True), "checkpoint and weights are there before the evaluation at the end"
    line = "the evaluation at 64 images failed (LinAlgError: the covariance is singular); training is not affected"
    assert line in watch.notes and {"images": 64, "text": line} in written(folder, "notes.jsonl")
    assert written(folder) == [] and manifest(folder)["evaluation"] is None and watch.told[-1] == ("done", 0)

    again = run(config, folder, Watch())  # nothing is trained, but what failed is tried again
    assert again.evaluation is not None and [row["images"] for row in written(folder)] == [64]
    assert manifest(folder)["evaluation"]["fd"] == again.evaluation["fd"]
    assert read_manifest(folder / "checkpoints" / "64")["metric"] == again.evaluation["fd"]


@pytest.mark.slow  # the same numbers after going on: `test_diagnosed_run`
def test_killed_between_a_save_and_its_evaluation(tmp_path, source, monkeypatch):
    """What a run that goes on measures, keeps and says is what one that was never killed does."""
    config = config_of(source, evaluate=MEASURED, checkpoint=CheckpointConfig(every_kimg=0.032, keep_best=True))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    watch = Watch()
    run(config, whole, watch)
    order = [told for told in watch.told if told[0] != "row"]
    assert order[-5:] == [
        ("pause", "writing weights"),
        ("pause", "drawing samples"),
        ("pause", "evaluating"),
        ("evaluation", 64),
        ("done", 2),
    ]
    assert [row["images"] for row in written(whole)] == [32, 64]

    def killed(self, g_vars):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "sample", killed)
        with pytest.raises(KeyboardInterrupt):
            run(config, cut, Watch())
    assert complete(cut / "checkpoints") == [32] and written(cut) == []
    run(config, cut, Watch())
    assert written(cut) == written(whole) and written(cut, "metrics.jsonl") == written(whole, "metrics.jsonl")
    for at in (32, 64):
        of = [read_manifest(folder / "checkpoints" / str(at)) for folder in (whole, cut)]
        assert of[0]["leaves"] == of[1]["leaves"] and of[0]["metric"] == of[1]["metric"] is not None
    clean = lambda folder: {**manifest(folder)["evaluation"], "seconds": 0}
    assert clean(cut) == clean(whole)


@pytest.mark.parametrize("number", ["fd", "kid"])
def test_what_keep_best_compares(number):
    from gan_jax.transfer.record import metric_of

    assert metric_of({number: 2, "recall": 1.0}) == 2.0 and metric_of({"fd": 1.0, "kid": 2.0}) == 1.0
    assert metric_of({"recall": 1.0}) is None


def test_a_start_that_fails_leaves_nothing_behind(tmp_path, source):
    config = config_of(source)
    wrong = [
        dataclasses.replace(config, data=dataclasses.replace(config.data, source="folder:typo")),
        dataclasses.replace(config, train=dataclasses.replace(config.train, devices=16, batch=16)),
        dataclasses.replace(config, evaluate=EvalConfig(features="no-such-network")),
    ]
    for one in wrong:
        with pytest.raises(ValueError):
            run(one, tmp_path / "runs" / "r", quiet=True)
        assert list(tmp_path.iterdir()) == []
    there = tmp_path / "there"
    there.mkdir()
    (there / "mine.txt").write_text("mine")
    with pytest.raises(ValueError):
        run(wrong[0], there, quiet=True)
    assert [path.name for path in there.iterdir()] == ["mine.txt"]

    class Stops(Callbacks):
        def begin(self, config, images):
            assert (there / "config.json").exists() and (there / "data.json").exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, there, Stops())
    assert [path.name for path in there.iterdir()] == ["mine.txt"]


@pytest.fixture(scope="module")
def short(tmp_path_factory, source):
    """A finished run of 64 images, and what its callbacks heard."""
    folder, watch = tmp_path_factory.mktemp("short") / "run", Watch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gan_jax.nets.resnet.make", build_toy)
        run(config_of(source), folder, watch)
    return folder


@pytest.fixture
def copy(short, tmp_path):
    return shutil.copytree(short, tmp_path / "run")


def test_a_run_made_longer_is_the_longer_run(tmp_path, source, copy):
    whole = run(config_of(source, kimg=0.128), tmp_path / "whole", Watch())
    finished = Watch()
    run(config_of(source), copy, finished)
    assert f"run {copy} is finished; to make it longer: gan-jax train {copy} --train.kimg 0.128" in finished.notes
    watch = Watch()
    longer = config_of(source, kimg=0.128, log=LogConfig(tensorboard=False, grid_every_kimg=0.1))
    result = run(longer, copy, watch)
    assert_same(result.state, whole.state)
    assert written(copy, "metrics.jsonl") == written(tmp_path / "whole", "metrics.jsonl")
    (change,) = json.loads((copy / "config.json").read_text())["changed"]
    assert change["images"] == 64 and change["changes"] == [
        "log.grid_every_kimg: 'None' -> 0.1",
        "train.kimg: 0.064 -> 0.128",
    ]
    assert any("train.kimg: 0.064 -> 0.128" in note for note in watch.notes)
    assert json.loads((copy / "config.json").read_text())["config"]["train"]["kimg"] == 0.128
    with pytest.raises(ConfigError, match="longer, not shorter"):
        run(config_of(source), copy, Watch())


@pytest.mark.slow
def test_checkpoints_switched_off_still_go_on_from_the_last(source, copy):
    off = config_of(source, kimg=0.096, checkpoint=CheckpointConfig(every_kimg=None))
    watch = Watch()
    assert int(run(off, copy, watch).state.images) == 96
    assert "resumed at 64 images" in watch.notes and max(complete(copy / "checkpoints")) == 96


def test_a_fork_goes_on_with_other_values(tmp_path, source, copy):
    other = config_of(source, kimg=0.096, optim=OptimConfig(lr=1e-3))
    with pytest.raises(ConfigError, match=f"gan-jax train {copy} --fork NEW --optim.lr 0.001"):
        run(other, copy, Watch())
    with pytest.raises(ConfigError, match="nothing to train: it starts at 64 images"):
        run(config_of(source, optim=OptimConfig(lr=1e-3)), tmp_path / "fork", Watch(), fork=copy)
    assert not (tmp_path / "fork").exists()

    result = run(other, tmp_path / "fork", Watch(), fork=copy)
    assert result.start is None and int(result.state.images) == 96
    same = run(config_of(source, kimg=0.096), copy, Watch())
    assert int(same.state.step) == int(result.state.step)
    rows = [written(folder, "metrics.jsonl") for folder in (copy, tmp_path / "fork")]
    assert rows[0][:4] == rows[1][:4] and [row["images"] for row in rows[1]] == list(range(16, 97, 16))
    for name in ("loss_d", "loss_g"):  # two steps in a row, of which only the second knows of the other step size
        np.testing.assert_allclose(rows[0][4][name], rows[1][4][name], rtol=0.5)
        assert rows[0][4][name] != rows[1][4][name]
    longer = config_of(source, kimg=0.112)
    longer = dataclasses.replace(longer, train=dataclasses.replace(longer.train, seed=1))
    reseeded = run(longer, tmp_path / "reseeded", Watch(), fork=copy)
    assert (jax.random.key_data(reseeded.state.key) != jax.random.key_data(same.state.key)).any(), "draws of its own"
    said = json.loads((tmp_path / "fork" / "config.json").read_text())["forked_from"]
    assert said["folder"] == str(copy) and said["images"] == 64
    history = manifest(tmp_path / "fork")["history"]
    assert [(step["kind"], step["images"]) for step in history] == [("train", 64), ("train", 96)]
    shutil.rmtree(copy)  # it stands by itself
    assert int(run(other, tmp_path / "fork", Watch()).state.images) == 96
    with pytest.raises(ConfigError, match="holds a run already, and not a fork of"):
        run(other, tmp_path / "fork", Watch(), fork=tmp_path)


def test_data_that_changed_are_refused(source, copy, tmp_path):
    changed = images(80)[0]
    changed[3] += 1
    folder = tmp_path / "moved"
    folder.mkdir()
    path = folder / "data.npz"
    np.savez(path, images=images(80)[0])
    here = config_of(f"npz:{path}", kimg=0.064)
    run(here, copy, Watch())  # the same images in another place
    streamed = dataclasses.replace(here, data=dataclasses.replace(here.data, pipeline="grain"))
    run(streamed, tmp_path / "streamed", Watch())
    np.savez(path, images=changed[:79])
    for config, run_folder in ((here, copy), (streamed, tmp_path / "streamed")):
        wanted = "80 training images then, 79 now; 2 of them are gone and 1 is new"
        with pytest.raises(ConfigError, match=wanted) as caught:
            run(config, run_folder, Watch())
        assert f"gan-jax train {run_folder} --fork NEW" in str(caught.value)


def test_notes_of_the_data_and_of_devices_are_told_and_kept(tmp_path, source):
    config = config_of(source)
    config = dataclasses.replace(
        config, train=dataclasses.replace(config.train, devices=None, batch=7, steps_per_dispatch=1)
    )
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, kimg=0.007))
    watch = Watch()
    run(config, tmp_path, watch, notes=["chosen: this"])
    line = "train.batch 7 does not divide over 8 devices: 7 of them are used; a multiple of 8 uses all"
    assert watch.notes == ["chosen: this", line]
    assert [row["text"] for row in written(tmp_path, "notes.jsonl")] == watch.notes
    assert json.loads((tmp_path / "config.json").read_text())["device"]["used"] == 7


@pytest.mark.slow
def test_run_shows_what_the_command_line_shows_unless_quiet(tmp_path, source, capsys):
    config = config_of(source, evaluate=MEASURED)
    run(config, tmp_path / "loud")
    out, err = capsys.readouterr()
    assert "train: compiling" in err and "train: compiled in" in err and "train: 64/64 images" in err
    assert "evaluation at 64 images (fashion-v1): FD " in err and ", KID " in err and ", recall " in err
    assert out.splitlines()[0] == "evaluations (fashion-v1)" and len(out.splitlines()) == 4
    run(config, tmp_path / "quiet", quiet=True)
    assert capsys.readouterr() == ("", "")
    names = [
        {str(path.relative_to(folder)) for path in folder.rglob("*.png")}
        for folder in (tmp_path / "loud", tmp_path / "quiet")
    ]
    assert names[0] == names[1] == {"samples/000000064.png"}
