"""Fusion in feature space as a preparation: what is learned, weaned off, distilled and left; every compiler alike."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.config import ConfigError, DistillationConfig, FeatureFusionConfig, MLPConfig
from gan_jax.fusion import features, teachers
from gan_jax.fusion.features import fused, smaller
from gan_jax.nets.build import build
from gan_jax.train.extension import Extension
from gan_jax.train.feed import resident_feed
from gan_jax.train.regularisers import Regulariser
from gan_jax.transfer import start
from gan_jax.transfer.distilling import distil_teachers
from gan_jax.transfer.method import Method, make_trainer
from gan_jax.transfer.methods.distillation import make as distillation
from gan_jax.transfer.methods.feature_fusion import attention_extension
from gan_jax.transfer.methods.feature_fusion import make as feature_fusion
from gan_jax.transfer.preparation import PrepareContext, Start
from gan_jax.transfer.start import make_prepared
from gan_jax.trees import flatten
from tests.train.toy import NET, build_toy
from tests.transfer.methods import conformance as ask

MLP = MLPConfig(resolution=4, channels=1, z_dim=3, g_widths=(8, 6), d_widths=(8,))
BASE = FeatureFusionConfig(
    source="first", donors=("second", "third"), attention_width=4, fuse_kimg=0.32, distil_kimg=0.32
)


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setattr("gan_jax.nets.resnet.make", build_toy)


def prepared(monkeypatch, transfer, method, net=MLP):
    """`(what a method prepares of fresh networks, the starts by name, the trainer)`, the donors of seeds 1, 2, .."""
    config = ask.make_config(transfer, net=net, steps_per_dispatch=4)
    pair = build(net)
    instance = method(transfer, pair)
    init = jax.jit(lambda key: {"g": pair.g.init(key), "d": pair.d.init(jax.random.fold_in(key, 1))})
    step = lambda name: ({"kind": "transplant", "source": {"name": name}, "leaves": {}},)
    names = [transfer.source, *transfer.donors]
    starts = {name: Start(init(jax.random.key(i)), history=step(name)) for i, name in enumerate(names)}
    monkeypatch.setattr(start, "_donor", lambda config, method, name, networks=("g",): starts[name])
    data = np.random.default_rng(0).integers(0, 256, (24, net.resolution, net.resolution, 1), np.uint8)
    trainer = make_trainer(config, instance, resident_feed(data, None, mirror=False))
    return make_prepared(trainer, starts[transfer.source], instance, jax.random.key(ask.KEY)), starts, trainer


def test_two_donors_are_fused_and_what_is_left_is_plain(monkeypatch):
    ready, starts, _ = prepared(monkeypatch, dataclasses.replace(BASE, drop=0.0), feature_fusion)
    record = ready.record["fusion"]
    specs = lambda nets: {path: (leaf.shape, leaf.dtype) for path, leaf in flatten(nets).items()}
    assert specs(ready.nets) == specs(starts["first"].nets)
    assert jax.tree.structure(ready.nets) == jax.tree.structure(starts["first"].nets)
    assert ready.images == 640 and ready.constants == {}
    rows = record["learned"]
    assert [row["images"] for row in rows] == list(range(32, 321, 32))
    for row in rows:
        assert_allclose(row["share1"], (row["share1/fc0"] + row["share1/fc1"]) / 2, rtol=1e-5)
        assert 0 < row["share1"] + row["share2"] < 1
    assert rows[0]["wean"] == 0 < rows[-1]["wean"] and rows[-1]["gate/fc1"] != 0
    assert all(len(row) == 2 for row in record["shares"]["g"].values()) and set(record["gates"]) == {"fc0", "fc1"}
    assert np.shape(record["maps"]["fc1"]) == (1, 1, 3) and record["dropped"] == []
    assert_allclose(np.sum(record["maps"]["fc1"]), 1, rtol=1e-4)
    assert_allclose(record["shares"]["g"]["fc1"], record["maps"]["fc1"][0][0][1:], atol=1e-5)
    distil_rows = record["taught"]
    assert {"l1", "features"} <= set(distil_rows[0]) and distil_rows[-1]["features"] < distil_rows[0]["features"]
    assert ready.history is not None and [donor["name"] for donor in ready.history[-1]["donors"]] == ["second", "third"]
    assert "G took from donors" in ready.notes[0] and "of third" in ready.notes[0]


@pytest.mark.slow
def test_weaning_moves_the_mass_to_the_target_and_then_donors_are_dropped(monkeypatch):
    kept, _, _ = prepared(monkeypatch, dataclasses.replace(BASE, wean=0.0), feature_fusion)
    strong = dataclasses.replace(BASE, wean=30.0, wean_from=0.0, fuse_kimg=1.6, drop=0.05)
    weaned, _, _ = prepared(monkeypatch, strong, feature_fusion)
    own = lambda ready: np.mean([1 - sum(row) for row in ready.record["fusion"]["shares"]["g"].values()])
    assert own(kept) < 0.6 and own(weaned) > 0.95
    curve = [row["share1"] + row["share2"] for row in weaned.record["fusion"]["learned"]]
    assert curve[0] > 0.4 and curve[-1] < 0.1
    assert weaned.record["fusion"]["dropped"] == ["second", "third"] and weaned.record["fusion"]["taught"] == []
    assert weaned.images == 1600  # nothing was left to distil


@pytest.mark.slow
def test_frozen_leaves_and_donors_stay(monkeypatch):
    """Without `finetune` and distillation, G comes out as it went in, to the bit."""
    only = dataclasses.replace(BASE, finetune=False, distil_kimg=0.0)
    ready, starts, _ = prepared(monkeypatch, only, feature_fusion)
    jax.tree.map(assert_array_equal, ready.nets["g"], starts["first"].nets["g"])
    assert ready.record["fusion"]["learned"][-1]["gate/fc1"] != 0 and ready.images == 320


@pytest.mark.slow
def test_a_distilled_generator_approaches_the_fused_one(monkeypatch):
    """The distance falls to less than a quarter, on latents that it has not seen too."""
    _, starts, trainer = prepared(
        monkeypatch, dataclasses.replace(BASE, fuse_kimg=0.032, distil_kimg=0.0), feature_fusion
    )
    context = PrepareContext(trainer, jax.random.key(ask.KEY), starts["first"], starts.__getitem__)
    pair, config = build(MLP), dataclasses.replace(BASE, distil_kimg=6.4)
    fusion = features.Fusion({"fc0": 8, "fc1": 6}, width=4)
    g, d = starts["first"].nets["g"], starts["first"].nets["d"]
    teacher = features.attach(fusion, g, [starts[name].nets["g"] for name in BASE.donors], jax.random.key(0))
    branch = teacher["params"][features.FUSION]
    ways = {name: {**way, "gate": jnp.float32(0.9)} for name, way in branch[features.LAYERS].items()}
    teacher["params"][features.FUSION] = {**branch, features.LAYERS: ways}
    nets, seen, rows = distil_teachers(
        context, config, {"g": jax.tree.map(jnp.array, g), "d": d}, [teacher], [1.0], tuple(fusion.points),
        lambda pair: fused(pair.g, fusion),
    )  # fmt: skip
    pupil, after = nets["g"], nets["d"]
    assert seen == 6400 and rows[-1]["features"] < rows[0]["features"] / 4 and rows[-1]["l1"] < rows[0]["l1"] / 2
    z = jax.random.normal(jax.random.key(11), (256, 3))
    want = jax.jit(fused(pair.g, fusion).apply)(teacher, z)[0]
    far = lambda v: float(abs(jax.jit(pair.g.apply)(v, z)[0] - want).mean())
    assert far(pupil) < far(g) / 2
    assert set(flatten(pupil)) == set(flatten(g))
    jax.tree.map(assert_array_equal, after, d)


@pytest.mark.slow
def test_several_teachers_by_latent_are_learned_where_a_blur_is_not(monkeypatch):
    """Told by latents, the pupil comes nearer to who answers than by chance, where it learns the mean of all."""
    base = DistillationConfig(source="first", donors=("second",), distil_kimg=6.4)
    last = {}
    for by in ("latent", "chance"):
        ready, starts, _ = prepared(monkeypatch, dataclasses.replace(base, by=by), distillation)
        rows = ready.record["fusion"]["taught"]
        last[by] = np.mean([row["l1"] for row in rows[-20:]])
        assert jax.tree.structure(ready.nets) == jax.tree.structure(starts["first"].nets) and ready.images == 6400
    assert last["latent"] < 0.5 * last["chance"] and last["latent"] < 0.6 * np.mean([row["l1"] for row in rows[:20]])
    assert ready.notes[0] == "G was distilled from first (0.5 of the examples), second (0.5 of the examples)"
    alone, starts, _ = prepared(
        monkeypatch, dataclasses.replace(base, shares=(0.0, 2.0), distil_kimg=0.032), distillation
    )
    assert alone.notes[0] == "G was distilled from second (1 of the examples)"


class Stage(Method):
    """A stage as a method of its own: a G that carries more than its leaves."""

    def __init__(self, attach, wrap, trains, extension):
        super().__init__(extension=extension)
        for name, value in {"make": attach, "net": wrap, "which": trains}.items():
            object.__setattr__(self, name, value)

    def attach(self, network, variables, key):
        return self.make(variables) if network == "g" else variables

    def wrap(self, pair):
        return dataclasses.replace(pair, g=self.net(pair.g))

    def trains(self, network):
        return self.which if network == "g" else super().trains(network)


@pytest.mark.slow
def test_every_compiler_attends_alike(toy):
    pair = build(NET)
    fusion = features.Fusion({"norm0": 4, "to_rgb": 1}, width=4)
    others = [jax.jit(pair.g.init)(jax.random.key(10 + i)) for i in range(2)]

    def attach(g):
        variables = features.attach(fusion, g, others, jax.random.key(3))
        for way in variables["params"][features.FUSION][features.LAYERS].values():
            way["gate"] = jnp.float32(0.5)
        return variables

    config = ask.make_config(dataclasses.replace(BASE, wean=1.0, wean_from=0.0))
    stage = Stage(attach, lambda net: fused(net, fusion), features.trains(True), attention_extension(config.transfer))
    ask.assert_same_everywhere(config, stage, runs=[("jit", 2)], atol=5e-6)
    state = ask.begin(config, stage).state
    frozen = {path for path in flatten(state.nets["g"]["params"]) if path.startswith("fusion/donors/")}
    moments = flatten(state.opt["g"])
    assert frozen and not any(path.endswith(tuple(frozen)) for path in moments), "donors have no moments"


@pytest.mark.slow
def test_every_compiler_teaches_alike(toy):
    pair, lesson = build(NET), teachers.Lesson((0.5, 0.5), ("norm0",), "chance")
    others = [jax.jit(pair.g.init)(jax.random.key(10 + i)) for i in range(2)]
    term = Regulariser("l1", "g", lambda ctx: (sum(ctx.g_collections[teachers.DISTANCES].values()), {}))
    stage = Stage(
        lambda g: teachers.attach(lesson, g, others), lambda net: teachers.taught(net, lesson), teachers.trains,
        Extension(regularisers=(term,), adversarial=False),
    )  # fmt: skip
    ask.assert_same_everywhere(ask.make_config(BASE), stage, runs=[("pmap", 2)])


def test_maps_are_kept_small():
    a = np.arange(32 * 32 * 2, dtype=float).reshape(32, 32, 2)
    assert_allclose(smaller(a)[0, 0], a[:2, :2].mean((0, 1)))
    assert smaller(a).shape == (16, 16, 2) and smaller(a[:5, :5]).shape == (5, 5, 2)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (feature_fusion, {"donors": ()}, "transfer.donors is empty: name at least one source beside transfer.source"),
        (feature_fusion, {"points": ("fc3",)}, "G has no module 'fc3' .did you mean 'fc"),
        (feature_fusion, {"way": "aff"}, "way aff fuses G with one donor, but there are 2; use attention"),
        (
            feature_fusion,
            {"networks": "g", "d_warmup_kimg": 0.1},
            "networks is g, but attention is trained against a D",
        ),
        (feature_fusion, {"networks": "d"}, "networks is d, but several pretrained Gs are made one"),
        (feature_fusion, {"wean_from": 1.0}, r"wean_from is 1; use a part of the stage in \[0, 1\)"),
        (feature_fusion, {"fuse_kimg": 0.0}, "fuse_kimg is 0, so that nothing is fused"),
        (feature_fusion, {"shares": (1.0, 1.0, 1.0)}, "divide examples between teachers, but feature_fusion has one"),
        (feature_fusion, {"l1": 0.0, "feature_weight": 0.0}, "nothing is learned; use l1 1"),
        (feature_fusion, {"lpips": "vgg16"}, "lpips vgg16 needs images of at least [0-9]+ px, not 4"),
        (distillation, {"shares": (1.0, 1.0)}, "shares are 2, but there are 3 teachers"),
        (distillation, {"shares": (0.0, 0.0, 0.0)}, "use 0 or more, and not 0 for all"),
        (distillation, {"distil_kimg": 0.0}, "distil_kimg is 0, so that nothing is learned from the donors"),
    ],
)
def test_what_cannot_be_is_an_error(method, options, message):
    cls = FeatureFusionConfig if method is feature_fusion else DistillationConfig
    with pytest.raises(ConfigError, match=message):
        method(cls(**{"source": "a", "donors": ("b", "c"), **options}), build(MLP))


def test_stages_fit_into_the_run():
    config = ask.make_config(dataclasses.replace(BASE, fuse_kimg=0.6, distil_kimg=0.5), net=MLP)
    with pytest.raises(ConfigError, match="transfer.fuse_kimg 0.6 and transfer.distil_kimg 0.5 must be shorter than"):
        config.validate()
