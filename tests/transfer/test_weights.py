"""Weights into other networks, from files and from checkpoints, with the whole chain in the manifest."""

from __future__ import annotations

import contextlib
import dataclasses
import doctest
import json

import jax
import numpy as np
import pytest

import gan_jax
from gan_jax.config import ConfigError, FreezeDConfig, TransplantConfig, to_dict
from gan_jax.interop import WeightsError
from gan_jax.interop.weights import WEIGHTS, load_manifest
from gan_jax.surgery import Action, PlanError
from gan_jax.surgery.provenance import history_of, origin_of, train_step
from gan_jax.tasks.model import save
from gan_jax.train.checkpoint.manager import DamagedError
from gan_jax.transfer import weights
from gan_jax.transfer.record import Callbacks
from gan_jax.transfer.run import run
from gan_jax.transfer.source import open_source
from gan_jax.transfer.weights import fresh_variables, measured_lines, transplant, transplant_weights
from gan_jax.trees import Rule, flatten
from tests.lanes import default_rows
from tests.train.toy import NET, build_toy, images, run_config

LARGER = dataclasses.replace(NET, z_dim=6)


def toy_rules(net, old, target, source, *, roots, **_):
    """Rules for the toy, which has the ResNet's configuration and none of its layers."""
    tails = {r"params/stem/kernel": {"inputs": [0]}, ".*": {}}
    each = [(root, tail) for root in target for tail in tails if root != "d" or tail == ".*"]
    return [Rule(f"re:{root}/({tail})", Action("fit", (rf"{roots[root]}/\1",), tails[tail])) for root, tail in each]


def use_toy(patch):
    patch.setattr("gan_jax.nets.resnet.make", build_toy)
    patch.setattr(weights, "pair_rules", toy_rules)


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    use_toy(monkeypatch)


def drawn(pair, seed=0):
    rng = np.random.default_rng(seed)
    draw = lambda specs: jax.tree.map(lambda s: rng.uniform(0.1, 1, s.shape).astype(np.float32), specs)
    return {"g_ema": draw(pair.g.specs()), "d": draw(pair.d.specs())}


class WithoutHistory(Callbacks):
    """Takes `history.json` away while the run trains: what is kept of it in memory is what is written."""

    def __init__(self, folder):
        self.file = folder / "history.json"

    def begin(self, config, images):
        assert [step["kind"] for step in json.loads(self.file.read_text())] == ["train", "transplant"]
        self.file.unlink()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """`a`: weights that were trained; `b`: a run that starts from them, D's reader frozen."""
    root = tmp_path_factory.mktemp("made")
    x, y = images()
    np.savez(root / "data.npz", images=x, labels=y)
    config = run_config(f"npz:{root / 'data.npz'}", kimg=0.064, devices=1)
    save(root / "a", NET, drawn(build_toy(NET)), {"history": [train_step(64, to_dict(config))]})
    config = dataclasses.replace(config, transfer=FreezeDConfig(source=str(root / "a"), blocks=1))
    with pytest.MonkeyPatch.context() as patch:
        use_toy(patch)
        jax.config.update("jax_disable_most_optimizations", True)
        run(config, root / "b", WithoutHistory(root / "b"))
    return root


def kinds(path, leaf):
    """What each step did to a leaf, newest first."""
    origin, found = origin_of(history_of(open_source(path).manifest), leaf), []
    while True:
        found.append(origin.words.split(" ")[0].split("(")[0].rstrip(":"))
        if not origin.sources:
            return found
        origin = origin.sources[0]


def test_a_run_that_starts_by_a_transplant_tells_both(made):
    a = open_source(made / "a")
    for path in (made / "b", made / "b" / "checkpoints" / "64"):
        history = open_source(path).manifest["history"]
        assert [step["kind"] for step in history] == ["train", "transplant", "train"]
        assert history[1]["source"] == {"name": str(made / "a"), "digest": a.digest}
        assert history[1]["measured"]["g"]["preserved"] and history[1]["measured"]["d"]["preserved"]
        said = history[1]["leaves"]["g/params/stem/kernel"]
        assert said == {"op": "copy", "sources": {"g_ema/params/stem/kernel": a.digests["g_ema/params/stem/kernel"]}}
        assert kinds(path, "g_ema/params/stem/kernel") == ["trained", "copy", "trained"]
        assert kinds(path, "d/params/head/kernel") == ["trained", "copy", "trained"]
        assert kinds(path, "d/params/b4/kernel") == ["frozen", "copy", "trained"]
        assert open_source(path).digests["d/params/b4/kernel"] == a.digests["d/params/b4/kernel"], "frozen it was"
    assert kinds(made / "b" / "checkpoints" / "64", "opt_g/mu/stem/kernel") == ["made"]
    assert "plan" not in load_manifest(made / "b" / "weights"), "the history says it, once"


def test_a_to_b_to_c_from_weights_and_from_a_checkpoint(made, tmp_path):
    for name, checkpoint in (("weights", None), ("checkpoint", 64)):
        done = transplant_weights(str(made / "b"), LARGER, tmp_path / name, checkpoint=checkpoint)
        assert done.measured["g"].preserved and done.measured["d"].preserved
        assert kinds(tmp_path / name, "g_ema/params/stem/kernel") == ["widen", "trained", "copy", "trained"]
        assert kinds(tmp_path / name, "d/params/b4/kernel") == ["copy", "frozen", "copy", "trained"]
        manifest = load_manifest(tmp_path / name)
        assert manifest["history"][:3] == open_source(made / "b", checkpoint).manifest["history"]
        assert "plan" not in manifest and "report" not in manifest
        assert gan_jax.load(tmp_path / name).config == LARGER
    text = gan_jax.provenance(tmp_path / "checkpoint", "g_ema/params/stem/kernel")
    assert f"transplanted from {made / 'b'} at 64 images (manifest " in text
    assert gan_jax.diff(tmp_path / "weights", tmp_path / "checkpoint").equal, (
        "batch statistics are not re-estimated here"
    )
    assert not gan_jax.diff(made / "b", tmp_path / "weights").equal


def test_fresh_values_are_those_of_the_seed(tmp_path):
    """Only the leaves that the plan reads are made, and they are those of the whole network."""
    variables = drawn(build_toy(NET))
    del variables["d"]["params"]["b4"]["kernel"]
    done = transplant_weights(str(save(tmp_path / "a", NET, variables, {})), NET, tmp_path / "b", seed=5, probes=0)
    got = flatten(gan_jax.load(tmp_path / "b").variables)["d/params/b4/kernel"]
    whole = fresh_variables(build_toy(NET), 5)["d"]["params"]["b4"]["kernel"]
    np.testing.assert_allclose(got, whole, rtol=1e-6)
    assert measured_lines(done.measured) == ["function not measured: no probes were asked for"]
    assert kinds(tmp_path / "b", "d/params/b4/kernel") == ["init"]


def leaf_bytes(variables):
    return {
        path: (leaf.dtype.name, leaf.shape, np.asarray(leaf).tobytes()) for path, leaf in flatten(variables).items()
    }


@pytest.mark.parametrize("source", default_rows(["path", "model", "checkpoint"], ["model"]))
def test_one_call_in_memory_is_what_is_written(made, tmp_path, source):
    """From a path or from a loaded model: the same bits, and the same history but for the date."""
    path = str(made / "b" / "checkpoints" / "64") if source == "checkpoint" else str(made / "b")
    written = transplant_weights(path, LARGER, tmp_path / "out", missing="init", seed=3)
    result = transplant(gan_jax.load(path) if source == "model" else path, LARGER, TransplantConfig(), seed=3)
    variables, plan, report = result
    assert leaf_bytes(variables) == leaf_bytes(gan_jax.load(tmp_path / "out").variables)
    assert report.follows(plan) and plan == written.plan and result.measured["g"].preserved
    same = lambda steps: [{key: value for key, value in step.items() if key != "date"} for step in steps]
    assert same(result.history) == same(load_manifest(tmp_path / "out")["history"]), (
        "name and digests of the source too"
    )


def test_a_transplant_can_be_saved_and_transplanted_again(made, tmp_path):
    result = gan_jax.transplant(str(made / "a"), LARGER, probes=0)
    assert leaf_bytes(gan_jax.load(result.save(tmp_path / "out")).variables) == leaf_bytes(result.variables)
    again = transplant(result.model, dataclasses.replace(LARGER, z_dim=8), probes=0)
    assert again.variables["g_ema"]["params"]["stem"]["kernel"].shape[0] == 8
    assert [step["kind"] for step in again.history] == ["train", "transplant", "transplant"]
    changed = dataclasses.replace(result.model, variables=jax.tree.map(lambda leaf: leaf + 1, result.variables))
    digest = lambda model: open_source(model).digests["d/params/head/kernel"]
    assert digest(changed) != digest(result.model), "digests are of the values, not of the file they came from"


def test_policies_come_as_a_configuration_or_by_name(made, tmp_path):
    variables = drawn(build_toy(NET))
    del variables["d"]["params"]["b4"]["kernel"]
    variables["d"]["params"]["embed"] = {"embedding": np.ones(8, np.float32)}
    source = str(save(tmp_path / "odd", NET, variables, {}))
    policies = TransplantConfig(missing="init", unused="drop", dtype="error")
    assert transplant(source, NET, policies, probes=0).plan.policies["unused"] == "drop"
    with pytest.raises(PlanError, match=r"d/params/b4/kernel"):
        transplant(source, NET, policies, missing="error", probes=0)
    with pytest.raises(PlanError, match=r"d/params/embed/embedding"):
        transplant(source, NET, missing="init", probes=0)
    half = jax.tree.map(lambda leaf: leaf.astype(np.float16), drawn(build_toy(NET)))
    assert "cast" in str(transplant(str(save(tmp_path / "half", NET, half, {})), NET, probes=0).plan)
    with pytest.raises(PlanError, match="float16"):
        transplant(str(tmp_path / "half"), NET, policies, probes=0)


@pytest.mark.parametrize(
    ("net", "options", "words"),
    [
        (NET, {"widht": "silent"}, "no option 'widht' (did you mean 'width'"),
        (NET, {"width": "wide"}, "TransplantConfig.width is 'wide'; use one of silent, net2wider"),
        (NET, {"shape": "wden"}, "'wden' is no operation that adapts a leaf (did you mean 'widen'"),
        (NET, {"classes": (0, 1)}, "classes says where each class starts from, and the new networks have none"),
        (NET, {"policies": {"unused": "drop"}}, "policies is of the type dict; use a TransplantConfig, or keyword"),
        ("resnet", {}, "net is of the type str; use the configuration of networks, one of ResNetConfig"),
        (dataclasses.replace(NET, resolution=20), {}, "net.resolution is 20"),
    ],
)
def test_what_cannot_be_transplanted_is_said(made, net, options, words):
    with pytest.raises((ConfigError, PlanError)) as caught:
        transplant(str(made / "a"), net, **options)
    assert words in str(caught.value)


def test_sources_that_are_none(made):
    with pytest.raises(ConfigError, match="a source is a path, embedded:NAME or a model of gan_jax.load; this is of"):
        transplant(7, NET)
    with pytest.raises(ConfigError, match="needs a run folder, and Model"):
        transplant(gan_jax.load(made / "a"), NET, checkpoint=64)


def flip(file, at):
    data = bytearray(file.read_bytes())
    data[at] ^= 0xFF
    file.write_bytes(data)


def damage(run_folder, leaf, *spared):
    """Flips a byte on disk that is this leaf's alone, or with no leaf spared any of its own, found by trying.

    A large leaf has a file of its own nearly; what is small lies together in a small file.
    """
    source = open_source(run_folder)
    for file in sorted(
        (run_folder / "checkpoints").rglob("d/*"), key=lambda path: path.stat().st_size, reverse=bool(spared)
    ):
        for at in range(0, file.stat().st_size, 61):
            flip(file, at)
            try:
                source(leaf)
            except DamagedError:
                with contextlib.suppress(DamagedError):
                    if spared:
                        source.read_many(list(spared))  # at once: every read opens the checkpoint anew
                    return
            flip(file, at)
    raise AssertionError(f"no byte is {leaf}'s alone")


def test_a_checkpoint_is_read_as_far_as_it_is_needed(tmp_path):
    """Damage of a moment is not met; damage of a leaf that is taken names it."""
    from gan_jax.config import Config, to_dict
    from gan_jax.train.checkpoint.manager import Checkpointer

    rng = np.random.default_rng(1)
    state = {**drawn(build_toy(NET)), "opt_g": {"mu": rng.standard_normal((64, 64)).astype(np.float32)}}
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    (run_folder / "config.json").write_text(json.dumps({"config": to_dict(Config(net=NET))}))
    with Checkpointer(run_folder / "checkpoints") as checkpointer:
        checkpointer.save(8, {**state, "key": jax.random.key(1)})
    taken = [path for path in open_source(run_folder).digests if path.startswith(("g_ema/", "d/"))]
    damage(run_folder, "opt_g/mu", *taken)
    done = transplant_weights(str(run_folder), NET, tmp_path / "out")
    assert done.measured["g"].preserved
    jax.tree.map(np.testing.assert_array_equal, gan_jax.load(tmp_path / "out").variables["d"], state["d"])
    source = open_source(run_folder)
    with pytest.raises(DamagedError, match="leaf 'opt_g/mu'"):
        source("opt_g/mu")
    assert (jax.random.key_data(source("key")) == jax.random.key_data(jax.random.key(1))).all()
    damage(run_folder, "d/params/b4/bias")  # small leaves lie together: the first that is needed is named
    with pytest.raises(DamagedError, match=r"checkpoints/8 is damaged: leaf 'd/params/b4/bias' is unreadable"):
        transplant_weights(str(run_folder), NET, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_dropped_leaf_that_is_damaged_stops_the_measurement_alone(made, tmp_path):
    variables = drawn(build_toy(NET))
    variables["d"]["params"]["embed"] = {"embedding": np.arange(1, 9, dtype=np.float32)}
    folder = save(tmp_path / "source", NET, variables, {})
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[data.find(variables["d"]["params"]["embed"]["embedding"].tobytes())] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    with pytest.raises(
        WeightsError, match="has a leaf 'd/params/embed/embedding' that the networks in its manifest lack"
    ):
        gan_jax.load(folder)
    done = transplant_weights(str(folder), NET, tmp_path / "out", unused="drop")
    assert measured_lines(done.measured)[0].startswith("function not measured: leaf 'd/params/embed/embedding' in ")
    text = gan_jax.provenance(tmp_path / "out", "d/params/head/bias")
    assert "not taken of the source: d/params/embed/embedding" in text
    assert "function not measured: leaf 'd/params/embed/embedding'" in text


def test_what_cannot_be_opened(made, tmp_path):
    with pytest.raises(ConfigError, match=r"has no checkpoint of 65 images; there are 64"):
        open_source(made / "b", 65)
    with pytest.raises(ConfigError, match="--checkpoint 64 needs a run folder"):
        open_source(made / "b" / "weights", 64)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="has no weights and no complete checkpoint yet"):
        open_source(tmp_path)
    with pytest.raises(DamagedError, match="no readable manifest.json"):
        (tmp_path / "checkpoints" / "7").mkdir(parents=True)
        open_source(tmp_path)


def test_the_docstring(tmp_path, monkeypatch):
    """The three lines in the module's docstring, with the networks and the weights of the package."""
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    test = doctest.DocTestParser().get_doctest(weights.__doc__, {}, "weights", None, 0)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    with jax.numpy_rank_promotion("allow"):
        runner.run(test)
    assert runner.tries >= 4 and runner.failures == 0
