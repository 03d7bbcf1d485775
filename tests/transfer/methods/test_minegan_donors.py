"""MineGAN with several donors: what is paid, by hand; which donor is chosen; every compiler plays the same game."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.config import MineGANConfig, MLPConfig
from gan_jax.nets.build import build
from gan_jax.nets.fronts import init_miner, miner
from gan_jax.random_streams import Purpose
from gan_jax.reserved import MINER
from gan_jax.tasks.image import draw_latents
from gan_jax.train.context import example_keys
from gan_jax.transfer import start
from gan_jax.transfer.method import Graft, Method
from gan_jax.transfer.methods import minegan as donors
from gan_jax.transfer.methods.minegan import make as minegan
from gan_jax.transfer.preparation import Start
from tests.train.games import PLAIN_SGD, gradients
from tests.train.toy import build_toy
from tests.transfer.methods import conformance as ask

CONFIG = ask.make_config(MineGANConfig(miner_width=8))
RATE = 10.0


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    monkeypatch.setattr("gan_jax.nets.resnet.make", build_toy)


def stage(pair, others=2, rate=RATE):
    """The first stage as a method of its own, its donors fresh networks."""
    init = lambda key, params: init_miner(key, pair.config.z_dim, 8)
    branches = {MINER: init, donors.OTHERS: lambda key, params: {f"g{i}": init(jax.random.fold_in(key, i), params)
                                                               for i in range(1, others + 1)},
                donors.LOGITS: lambda key, params: jnp.linspace(-0.05, 0.1, others + 1)}  # fmt: skip
    return Method(
        frozen=tuple(f"g/params/{name}/**" for name in pair.g.specs()["params"]),
        grafts={"g": Graft(branches=branches, front=miner())},
        constants=lambda nets: donors.donor_constants([pair.g.init(jax.random.key(10 + i)) for i in range(others)]),
        extension=donors.mining(others + 1, rate, 0),
    )


@pytest.mark.slow
def test_devices_play_the_same_game():
    ask.assert_same_on_devices(ask.begin(CONFIG, stage(build(CONFIG.net))))


def test_both_networks_pay_the_mixture_of_the_donors_losses():
    """The terms by hand in float64, and the shares' gradient: rate p_i (loss_i - mean loss), by a step of plain SGD."""
    config = dataclasses.replace(CONFIG, optim=PLAIN_SGD)
    begun = ask.begin(config, stage(build(config.net), others=1), optimizer=gradients)
    state, feed, (after, metrics) = begun.state, begun.trainer.feed, begun.after(1)
    before = np.asarray([-0.05, 0.1])
    p = np.exp(RATE * before) / np.exp(RATE * before).sum()
    nets, keys = begun.trainer.task.nets, lambda purpose: example_keys(state, purpose, 0, jnp.arange(8))
    donor = donors.donor(state.nets["g"], state.constants, 1)
    fake = nets["g"].apply(donor, draw_latents(keys(Purpose.D_LATENTS), 4), train=True)[0]
    judge = lambda images: np.asarray(nets["d"].apply(state.nets["d"], images, train=True)[0], np.float64)
    real = judge(feed.draw(feed.resident, keys(Purpose.DATA), 0)["image"])
    softplus = lambda t: np.log1p(np.exp(t))
    assert_allclose(metrics["loss_d_donors"], p[1] * (softplus(-real) + softplus(judge(fake))).mean(), rtol=1e-5)
    losses = np.asarray([metrics["loss_g"], metrics["loss_g_donors"] / p[1]], np.float64)
    want = before - RATE * p * (losses - p @ losses)
    assert abs(want - before).max() > 1e-3
    assert_allclose(after["g/params/graft/logits"], want, rtol=1e-4, atol=1e-5)
    shares = np.exp(RATE * want) / np.exp(RATE * want).sum()  # what is shown is of the state after the step
    assert_allclose([metrics["p0"], metrics["p1"]], shares, rtol=1e-3)


POINT: Any = MLPConfig(resolution=4, channels=1, z_dim=2, g_widths=(8,), d_widths=(16,), bounded=True)


@pytest.mark.slow  # which donor is chosen: `test_minegan_run`
def test_a_donor_of_noise_loses_and_the_other_goes_on_with_its_miner(monkeypatch):
    """The first source makes noise; the second makes what the target is: smooth images of one brightness each."""
    pair = build(POINT)
    noise, good = pair.g.init(jax.random.key(0)), pair.g.init(jax.random.key(1))
    flat = lambda x: jnp.broadcast_to(x[..., :1], x.shape)
    to_rgb = {"kernel": flat(good["params"]["to_rgb"]["kernel"]), "bias": jnp.zeros(16)}
    good = {"params": {**good["params"], "to_rgb": to_rgb}}
    rough = {"kernel": 9 * noise["params"]["to_rgb"]["kernel"], "bias": jnp.zeros(16)}
    noise = {"params": {**noise["params"], "to_rgb": rough}}
    d = pair.d.init(jax.random.key(2))
    made_images = pair.g.apply(good, jax.random.normal(jax.random.key(3), (200, 2)))[0]
    target = np.asarray(jnp.round((made_images + 1) * 127.5), np.uint8)
    transfer = MineGANConfig(source="noise", donors=("good",), mine_kimg=3.2, miner_width=8, selection_rate=10.0)
    config = ask.make_config(transfer, net=POINT, batch=32, steps_per_dispatch=20, kimg=20.0)
    steps = lambda name: ({"kind": "transplant", "source": {"name": name}, "leaves": {
        "g/params/fc0/kernel": {"op": "copy"}, **({"d/params/head/kernel": {"op": "copy"}} if name == "noise" else {}),
    }},)  # fmt: skip
    starts = {name: Start({"g": g, "d": d}, history=steps(name)) for name, g in (("noise", noise), ("good", good))}
    monkeypatch.setattr(start, "_donor", lambda config, method, name: starts[name])
    ready = ask.prepared(config, starts["noise"], minegan(transfer, pair), target)
    record = ready.record
    assert record["chosen"] == "good" and record["p"][1] > 0.8 and sum(record["p"]) == pytest.approx(1)
    curve = [row["p1"] for row in record["mined"]]
    assert len(curve) == 5 and curve[0] < curve[-1] == pytest.approx(record["p"][1], abs=0.2)
    assert "G of good was chosen by mining: p is" in ready.notes[0] and "of noise" in ready.notes[0]
    assert_array_equal(ready.nets["g"]["params"]["to_rgb"]["kernel"], to_rgb["kernel"])  # frozen, and the good one's
    assert set(ready.nets["g"]["params"]["graft"]) == {MINER} and ready.images == 3200
    assert ready.history is not None
    last = ready.history[-1]
    assert last["source"]["name"] == "good" and last["leaves"]["d/params/head/kernel"]["of"] == "noise"


def test_one_donor_is_the_plain_game():
    alone = donors.mining(1, RATE, 0)
    assert alone.regularisers == () and alone.weight(cast(Any, None), "g") == 1
    g = {"params": {"graft": {MINER: {}}}}
    assert donors.add_donors(g, []) is g
