"""GAN Cocktail: copies against what a donor makes, the average of root and copies, what is recomputed."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.config import CocktailConfig, ConfigError, MLPConfig
from gan_jax.fusion.merges.averages import average
from gan_jax.nets.build import build
from gan_jax.random_streams import Purpose
from gan_jax.tasks.image import draw_latents
from gan_jax.train.context import example_keys
from gan_jax.train.extension import Extension
from gan_jax.transfer import start
from gan_jax.transfer.method import Method
from gan_jax.transfer.methods.cocktail import DONOR, use_donor_images
from gan_jax.transfer.methods.cocktail import make as cocktail
from gan_jax.transfer.preparation import PrepareContext, Start
from tests.train.toy import NET, build_toy
from tests.transfer.methods import conformance as ask

MLP = MLPConfig(resolution=4, channels=1, z_dim=3, g_widths=(5,), d_widths=(8,))


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setattr("gan_jax.nets.resnet.make", build_toy)


def test_a_copy_plays_against_what_the_donor_makes(toy):
    """D's logits on the real side, by hand."""
    pair = build(NET)
    donor = jax.jit(pair.g.init)(jax.random.key(10))
    donor["params"]["to_rgb"]["bias"] += 3.0  # bright, whatever the latent
    method = Method(extension=Extension(transform=use_donor_images), constants=lambda nets: {DONOR: donor})
    config = ask.make_config(CocktailConfig())
    begun = ask.begin(config, method)
    state, (_, metrics) = begun.state, begun.after(1)
    z = draw_latents(example_keys(state, Purpose.DONOR_LATENTS, 0, jnp.arange(8)), NET.z_dim)
    real = jnp.clip(jax.jit(lambda v, z: pair.g.apply(v, z)[0])(donor, z), -1, 1)
    assert real.min() > 0.5
    want = jax.jit(lambda v, x: pair.d.apply(v, x, train=True)[0])(state.nets["d"], real).mean()
    assert_allclose(metrics["logits_real"], want, rtol=1e-4, atol=1e-6)


def test_the_average_is_uniform_over_root_and_copies(monkeypatch):
    """By a stage that moves every leaf by 1, then by 2: the average is the root and 1; with keys of their own."""
    pair, transfer = build(MLP), CocktailConfig(source="root", donors=("a", "b"), root_kimg=0.1)
    init = jax.jit(lambda key: {"g": pair.g.init(key), "d": pair.d.init(jax.random.fold_in(key, 1))})
    step = lambda name: ({"kind": "transplant", "source": {"name": name}, "leaves": {}},)
    starts = {name: Start(init(jax.random.key(i)), history=step(name)) for i, name in enumerate(("root", "a", "b"))}
    monkeypatch.setattr(start, "_donor", lambda config, method, name, networks=("g",): starts[name])
    calls: list[Any] = []

    def train(self, nets, kimg, **rest):
        calls.append((jax.random.key_data(self.key), rest["constants"][DONOR], kimg, nets["g"]))
        rest["row"](96, {"loss_g": 1.0})
        return SimpleNamespace(nets=jax.tree.map(lambda x: x + len(calls), nets), images=96)

    recomputed: list[str] = []
    record = lambda context, pair, network, variables: recomputed.append(network) or variables
    monkeypatch.setattr(sys.modules[cocktail.__module__], "recompute_statistics", record)
    monkeypatch.setattr(PrepareContext, "train", train)
    root = starts["root"].nets
    ready = ask.prepared(ask.make_config(transfer), starts["root"], cocktail(transfer, pair))
    moved = lambda new, old: assert_allclose(new, old + 1, rtol=1e-6)
    for name in ("g", "d"):
        jax.tree.map(moved, ready.nets[name]["params"], root[name]["params"])
    assert recomputed == ["g", "d"]  # what goes beside the weights is recomputed
    assert (calls[0][0] != calls[1][0]).any() and [call[2] for call in calls] == [0.1, 0.1]
    for (_, donor, _, g), name in zip(calls, ("a", "b")):
        jax.tree.map(assert_array_equal, donor, starts[name].nets["g"])
        jax.tree.map(assert_array_equal, g, root["g"])  # each copy begins at the root
    assert ready.images == 192 and ready.constants == {}
    fusion = ready.record["fusion"]
    assert [row["donor"] for row in fusion["donors"]] == ["a", "b"] and fusion["donors"][0]["rooted"][0]["images"] == 96
    assert_allclose(fusion["shares"]["d"]["all"], [1 / 3, 1 / 3])
    assert ready.history is not None and [row["name"] for row in ready.history[-1]["donors"]] == ["a", "b"]
    assert ready.notes == ("G and D are the average of root and of copies of it that learned a, b",)


def test_averages_by_hand():
    trees = [{"a": jnp.full(3, float(x)), "b": {"c": jnp.array([[x, 1.0]])}} for x in (1.0, 2.0, 6.0)]
    mean = average(trees)
    assert_allclose(mean["a"], 3.0)
    assert_allclose(mean["b"]["c"], [[3.0, 1.0]])
    jax.tree.map(assert_array_equal, average(trees[:1]), trees[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "transfer.donors is empty: name at least one source"),
        (
            {"donors": ("b",), "networks": "g", "d_warmup_kimg": 0.1},
            "networks is g, but the root is a G and a D; use both",
        ),
    ],
)
def test_what_cannot_be_is_an_error(options, message):
    with pytest.raises(ConfigError, match=message):
        cocktail(CocktailConfig(**options), build(MLP))


def test_the_roots_fit_into_the_run():
    config = ask.make_config(CocktailConfig(donors=("a", "b", "c"), root_kimg=0.4), net=MLP)
    with pytest.raises(ConfigError, match="root_kimg 0.4 for each of 3 donors must be shorter than train.kimg 1"):
        config.validate()
