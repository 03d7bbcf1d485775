"""MineGAN with one donor: it begins as its source, mines where the target is with G frozen, then trains all of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from gan_jax.config import ConfigError, MineGANConfig, MLPConfig, StyleGAN2Config
from gan_jax.nets.build import build
from gan_jax.nets.fronts import with_front
from gan_jax.transfer.methods import make_method
from gan_jax.transfer.preparation import Start
from gan_jax.trees import flatten
from tests.lanes import default_rows
from tests.train.toy import build_toy
from tests.transfer.methods import conformance as ask

MINE = MineGANConfig(mine_kimg=0.0, miner_width=10)
CONFIG = ask.make_config(MINE)


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    monkeypatch.setattr("gan_jax.nets.resnet.make", build_toy)


@pytest.mark.parametrize("moment", default_rows(["none", "prior"], [MINE.moment]))
def test_it_begins_as_its_source(moment):
    ask.assert_identity(ask.conform(ask.make_config(dataclasses.replace(MINE, moment=moment))))


def test_miner_g_and_d_train():
    ask.assert_only(ask.conform(CONFIG), lambda path: True)


def test_without_finetuning_g_stays_as_it_is():
    begun = ask.conform(ask.make_config(dataclasses.replace(MINE, finetune=False)))
    ask.assert_trains(begun, lambda path: path.startswith(("g/params/graft/", "d/")))


@pytest.mark.slow
def test_devices_play_the_same_game():
    ask.assert_same_on_devices(ask.conform(CONFIG))


def test_what_is_shared_computes_what_was_trained():
    begun = ask.conform(CONFIG)
    method, state = begun.method, begun.state_after(3)
    pair, z = build(CONFIG.net), jax.random.normal(jax.random.key(3), (4, 4))
    shared = method.shared("g", state.ema["g"])
    loaded = with_front(pair, method.front["front"])
    want = method.wrap(pair).g.apply(state.ema["g"], z)[0]
    assert_array_equal(loaded.g.apply(shared, z)[0], want)
    assert (np.asarray(pair.g.apply(method.plain("g", state.ema["g"]), z)[0]) != want).any()  # it cannot be left out


def test_the_first_stage_moves_the_miner_and_d_alone_and_its_images_count():
    config = ask.make_config(dataclasses.replace(MINE, mine_kimg=0.04, d_warmup_kimg=0.016))
    start, method = ask.source(config), make_method(config.transfer, build(config.net))
    ready = _ready(config, start)
    assert ready.images == 40 and [row["images"] for row in ready.record["mined"]] == [8, 16, 24, 32, 40]
    fresh = flatten(start.nets["g"]["params"])
    for path, leaf in flatten(ready.nets["g"]["params"]).items():
        moved = path not in fresh
        attached = method.attach("g", start.nets["g"], jax.random.key(0))["params"] if moved else None
        before = fresh[path] if attached is None else flatten(attached)[path]
        assert moved == (np.asarray(leaf) != before).any(), path
    warm = dataclasses.replace(config, transfer=dataclasses.replace(config.transfer, d_warmup_kimg=0.032))
    longer = _ready(warm, start)
    # Of five steps D has the first four alone: the only step of Adam is by as much.
    last = np.asarray(longer.nets["g"]["params"]["graft"]["miner"]["fc1"]["bias"])
    np.testing.assert_allclose(np.abs(last), 1e-2 * np.sqrt((1 - 0.9**5) / 0.1), rtol=1e-3)


def _ready(config, start, images=None):
    draw = np.random.default_rng(0)
    shape = (24, config.net.resolution, config.net.resolution, config.net.channels)
    x = draw.integers(0, 256, shape, np.uint8) if images is None else images
    return ask.prepared(config, start, data=x)


HALF: Any = MLPConfig(resolution=4, channels=1, z_dim=2, g_widths=(2,), d_widths=(16,))


def half_pair():
    """G whose image says z0 and nothing else: `tanh(3 z0)` everywhere; a fresh D."""
    pair = build(HALF)
    kernel = jnp.asarray([[1.0, -1.0], [0.0, 0.0]])
    scale = 3 / (1 + HALF.g_slope)  # leaky(t) - leaky(-t) is (1 + slope) t
    g = {
        "fc0": {"kernel": kernel, "bias": jnp.zeros(2)},
        "to_rgb": {"kernel": scale * jnp.stack([jnp.ones(16), -jnp.ones(16)]), "bias": jnp.zeros(16)},
    }
    return pair, {"params": g}, pair.d.init(jax.random.key(1))


@pytest.mark.parametrize("moment", default_rows(["none", "prior"], ["prior"]))
def test_mining_finds_the_half_of_the_latent_space_that_the_target_is(moment):
    pair, g, d = half_pair()
    z = jax.random.normal(jax.random.key(5), (200, 2))
    images = pair.g.apply(g, z.at[:, 0].set(jnp.abs(z[:, 0]) + 0.3))[0]
    target = np.asarray(jnp.round((images + 1) * 127.5), np.uint8)
    transfer = MineGANConfig(mine_kimg=12.8, miner_width=16, moment=moment)
    config = ask.make_config(transfer, net=HALF, batch=32, steps_per_dispatch=50, kimg=20.0)
    method = make_method(transfer, pair)
    ready = _ready(config, Start({"g": g, "d": d}), target)
    right = lambda variables: float((method.wrap(pair).g.apply(variables, z)[0].mean((1, 2, 3)) > 0).mean())
    before = right(method.attach("g", g, jax.random.key(0)))
    assert 0.4 < before < 0.6 and right(ready.nets["g"]) > 0.9
    assert_array_equal(ready.nets["g"]["params"]["fc0"]["kernel"], g["params"]["fc0"]["kernel"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"networks": "d"}, "networks is d, but MineGAN mines a pretrained G"),
        ({"miner_width": 7}, "miner_width is 7, .* net.z_dim 4 numbers; use at least 8"),
        (
            {"semantic": True},
            "semantic mines the constant that StyleGAN2 begins with, which ResNetConfig does not have",
        ),
        ({"mine_kimg": 1.0, "d_warmup_kimg": 1.0}, "d_warmup_kimg 1 leaves nothing of transfer.mine_kimg 1"),
        ({"donors": ("other",)}, "donors are chosen among while mining, but transfer.mine_kimg is 0"),
    ],
)
def test_what_cannot_be_mined_is_said(options, message):
    with pytest.raises(ConfigError, match=message):
        make_method(dataclasses.replace(MINE, **options), build(CONFIG.net))


TINY: Any = StyleGAN2Config(
    resolution=16, channels=1, z_dim=4, w_dim=8, mapping_layers=1, channel_base=64, channel_max=8, mbstd_group=2
)


@pytest.mark.slow
@pytest.mark.parametrize("semantic", [False, True])
def test_stylegan2_begins_as_its_source_and_mines_its_constant(semantic):
    begun = ask.conform(ask.make_config(dataclasses.replace(MINE, finetune=False, semantic=semantic), net=TINY))
    ask.assert_identity(begun)
    ask.assert_only(begun, lambda path: path.startswith(("g/params/graft/", "d/")), times=2)
