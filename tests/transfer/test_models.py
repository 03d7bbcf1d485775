"""Models out of runs that have not finished: what a checkpoint gives is what the run would write."""

from __future__ import annotations

import dataclasses
import json
import shutil
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import gan_jax
from gan_jax import config as c
from gan_jax.cli.main import main
from gan_jax.config import Config, ConfigError, to_dict
from gan_jax.interop import WeightsError
from gan_jax.nets import build
from gan_jax.tasks.model import save
from gan_jax.train.checkpoint.manager import Checkpointer
from gan_jax.train.feed import resident_feed
from gan_jax.transfer.method import make_trainer
from gan_jax.transfer.methods import make_method
from gan_jax.transfer.models import class_names, load, unfinished
from gan_jax.transfer.record import write_weights
from gan_jax.trees import flatten, unflatten

CONFIG = Config(
    data=c.DataConfig(source="embedded:fashion-mnist", classes=(1,), shots=16),
    net=c.MLPConfig(resolution=16, channels=1, z_dim=4, g_widths=(8,), d_widths=(8,)),
    train=c.TrainConfig(kimg=0.016, batch=8, steps_per_dispatch=1),
    transfer=c.LoRAConfig(rank=1),  # whose checkpoints hold more than plain networks
    evaluate=c.EvalConfig(features=None),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run folder with two checkpoints and weights, as a run leaves it; nothing is trained for it."""
    folder = tmp_path_factory.mktemp("models") / "run"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"config": to_dict(CONFIG), "method": "table"}))
    bare = build(CONFIG.net)
    method = make_method(CONFIG.transfer, bare)
    trainer = make_trainer(CONFIG, method, resident_feed(np.zeros((8, 16, 16, 1), np.uint8), None, mirror=False))

    def begin(key):
        key_g, key_d = jax.random.split(key)
        g, d = method.attach("g", bare.g.init(key_g), key), method.attach("d", bare.d.init(key_d), key)
        noise = lambda leaf: leaf + jax.random.normal(key, leaf.shape)  # so that adapters do something
        g = {**g, "params": jax.tree_util.tree_map(noise, g["params"])}
        nets = {"g": g, "d": d}
        return trainer.init(nets, key, method.constants(nets))

    with Checkpointer(folder / "checkpoints") as saver:
        for images in (8, 16):
            state = jax.jit(begin)(jax.random.key(images))
            state = state.replace(images=state.images + images)
            saver.save(images, state, history=[])
            saver.wait()
    write_weights(folder, CONFIG, state, None, None, method)
    return folder


@pytest.fixture
def half(finished, tmp_path):
    """The run without its weights, as one that was killed leaves it."""
    shutil.copytree(finished, tmp_path / "half")
    shutil.rmtree(tmp_path / "half" / "weights")
    return tmp_path / "half"


def same(a, b):
    a, b = flatten(a), flatten(b)
    assert a.keys() == b.keys()
    for path in a:
        np.testing.assert_array_equal(a[path], b[path], err_msg=path)


def test_a_checkpoint_is_what_the_run_writes_at_its_end(finished, half):
    written, newest = load(finished), load(half)
    same(newest.variables, written.variables)
    assert newest.config == written.config == CONFIG.net
    same(load(half, 16).variables, written.variables)
    same(load(half / "checkpoints" / "16").variables, written.variables)
    older = flatten(load(half, 8).variables["g_ema"])
    assert any((older[p] != leaf).any() for p, leaf in flatten(written.variables["g_ema"]).items())
    assert unfinished(finished) is None and unfinished(half, 8) is None and unfinished("embedded:fashion16") is None
    assert f"{half} has not finished: this is its newest checkpoint, of 16 images" in unfinished(half)


def test_every_verb_reads_an_unfinished_run_and_says_so(half, tmp_path, capsys):
    for argv in (
        ("sample", "--n", "2", "--out", f"{tmp_path}/x.npz"),
        ("export", "--to", "safetensors", "--out", f"{tmp_path}/x.safetensors"),
    ):
        assert main([argv[0], str(half), *argv[1:]]) == 0
        assert "has not finished: this is its newest checkpoint, of 16 images" in capsys.readouterr().err
    shutil.rmtree(half / "checkpoints")
    for verb in ("sample", "evaluate", "export", "rank-sources", "transplant", "diff", "inspect"):
        more = {"export": ["--to", "safetensors", "--out", f"{tmp_path}/y.safetensors"], "diff": [str(half)],
                "transplant": ["--out", f"{tmp_path}/t"]}.get(verb, [])  # fmt: skip
        assert main([verb, str(half), *more]) == 2
        said = capsys.readouterr().err
        assert (
            "has no weights and no complete checkpoint yet; go on with gan-jax train" in said
            and "Traceback" not in said
        )


def test_what_is_not_there_is_said(half):
    with pytest.raises(ConfigError, match="no checkpoint of 9 images; there are 8, 16"):
        load(half, 9)
    with pytest.raises(ConfigError, match="there is no checkpoint .*there are 8, 16"):
        load(half / "checkpoints" / "9")
    with pytest.raises(ConfigError, match="needs a run folder"):
        load("embedded:fashion16", 9)


def test_a_run_of_a_method_of_ones_own_is_no_guess(half):
    said = json.loads((half / "config.json").read_text())
    (half / "config.json").write_text(json.dumps(said | {"method": "mine.method"}))
    with pytest.raises(ConfigError, match="method of its own .mine.method."):
        load(half)


def test_names_of_classes_come_from_the_manifest_or_the_runs_data(finished, half):
    model = load(finished)
    assert class_names(model) is None  # unconditional
    (half / "data.json").write_text('{"class_names": ["a", "b"]}')
    named = load(half)
    assert named.manifest["class_names"] == ["a", "b"]
    conditional = dataclasses.replace(named, config=c.ResNetConfig(num_classes=3))
    assert class_names(conditional) == ("a", "b", "2")


def test_names_of_classes_go_along_with_weights(tmp_path):
    """Weights that are given away keep them: of a run, merged, transplanted, aligned."""
    net = c.MLPConfig(4, 1, 2, 6, (8,), (8,))
    pair, names = build(net), {"class_names": ["cat", "dog"]}
    g, d = (jax.tree.map(np.asarray, one.init(jax.random.key(0))) for one in (pair.g, pair.d))
    state = SimpleNamespace(images=8, ema={"g": g}, nets={"g": g, "d": d})
    method = SimpleNamespace(frozen=(), front={}, shared=lambda root, tree: tree)
    (tmp_path / "data.json").write_text(json.dumps(names))
    write_weights(tmp_path, dataclasses.replace(CONFIG, net=net), state, None, None, method)  # type: ignore[arg-type]
    one = str(tmp_path / "weights")
    assert load(one).manifest["class_names"] == names["class_names"]
    gan_jax.transplant_weights(one, dataclasses.replace(net, g_widths=(12,)), tmp_path / "wide", probes=0)
    assert main(["merge", one, one, "--kind", "uniform", "--out", str(tmp_path / "both")]) == 0
    assert main(["align", one, one, "--out", str(tmp_path / "aligned")]) == 0
    for folder in ("wide", "both", "aligned"):
        assert class_names(load(tmp_path / folder)) == ("cat", "dog"), folder
    save(tmp_path / "other", net, {"g_ema": g, "d": d}, {"class_names": ["dog", "cat"]})
    assert main(["merge", one, str(tmp_path / "other"), "--kind", "uniform", "--out", str(tmp_path / "mixed")]) == 0
    assert class_names(load(tmp_path / "mixed")) is None  # class 0 is of both


def test_a_model_fits_a_line_and_takes_a_seed():
    model = gan_jax.load("embedded:fashion16")
    assert repr(model) == "Model('resnet 16 px, 1 channel, 80.9 k values, g_ema+d')"
    np.testing.assert_array_equal(model.sample(3, 2), model.sample(jax.random.key(3), 2))
    np.testing.assert_array_equal(model.sample(np.int64(3), 2), model.sample(3, 2))
    assert (model.sample(4, 2) != model.sample(3, 2)).any()
    with pytest.raises(ValueError, match="n is 0"):
        model.sample(0, 0)


def test_a_generator_alone_is_enough_and_what_is_not_finite_is_named(tmp_path):
    model = gan_jax.load("embedded:fashion16")
    alone = save(tmp_path / "g", model.config, {"g_ema": model.variables["g_ema"]}, {})
    np.testing.assert_array_equal(load(alone).sample(0, 2), model.sample(0, 2))
    for verb, more in (("inspect", []), ("diff", [str(alone)]), ("transplant", ["--out", str(tmp_path / "t")]),
                       ("export", ["--to", "safetensors", "--out", str(tmp_path / "x.safetensors")])):  # fmt: skip
        assert main([verb, str(alone), *more]) == 0
    judge = save(tmp_path / "d", model.config, {"d": model.variables["d"]}, {})
    with pytest.raises(WeightsError, match="holds no generator .g_ema., only d: it makes no images"):
        load(judge).sample(0, 2)
    leaves = {path: np.array(leaf) for path, leaf in flatten(model.variables).items()}
    leaves["g_ema/params/to_rgb/bias"][:] = np.nan
    with pytest.raises(
        WeightsError, match="leaf 'g_ema/params/to_rgb/bias' .* holds 1 of 1 values that are not finite"
    ):
        load(save(tmp_path / "nan", model.config, unflatten(leaves), {}))
