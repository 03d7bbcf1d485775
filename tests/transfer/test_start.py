"""What a run starts from: fresh variables, a saved source, one network of it."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from gan_jax.config import Config, ConfigError, FinetuneConfig, FreezeDConfig, ResNetConfig, ScratchConfig
from gan_jax.nets import build
from gan_jax.tasks.model import save
from gan_jax.transfer.methods import make_method
from gan_jax.transfer.start import make_start
from gan_jax.transfer.weights import fresh_variables
from gan_jax.trees import flatten

NET = ResNetConfig(resolution=16, z_dim=4, channel_base=64, channel_max=4)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A saved pair whose moving average, G and D are three different networks."""
    with jax.numpy_rank_promotion("allow"):
        pair = build(NET)
        first, second = fresh_variables(pair, 7), fresh_variables(pair, 8)
    variables = {"g_ema": first["g"], "d": second["d"]}
    return str(save(tmp_path_factory.mktemp("source") / "w", NET, variables, {})), variables


def start(transfer):
    pair = build(NET)
    return make_start(Config(net=NET, transfer=transfer), pair, make_method(transfer, pair))


def same(a, b):
    a, b = flatten(a), flatten(b)
    assert a.keys() == b.keys()
    return all(np.asarray(a[p]).tobytes() == np.asarray(b[p]).tobytes() for p in a)


@pytest.mark.parametrize("networks", ["g", "d"])
def test_one_network_starts_from_the_source_the_other_is_fresh(source, networks):
    folder, variables = source
    warmup = 0.1 if networks == "g" else 0.0
    got = start(FinetuneConfig(source=folder, networks=networks, d_warmup_kimg=warmup))
    fresh = start(ScratchConfig())
    assert fresh.plan is None and got.plan is not None
    assert got.differences is not None and list(got.differences) == [networks] and got.differences[networks].preserved
    assert same(got.nets["g"], variables["g_ema"] if networks == "g" else fresh.nets["g"])
    assert same(got.nets["d"], variables["d"] if networks == "d" else fresh.nets["d"])


def test_both_start_from_the_source_g_from_its_moving_average(source):
    folder, variables = source
    got = start(FreezeDConfig(source=folder, blocks=1))
    assert same(got.nets, {"g": variables["g_ema"], "d": variables["d"]})
    assert got.plan is not None and got.differences
    assert all(entry.target.startswith(("g/", "d/")) for entry in got.plan.entries)


def test_freeze_d_counts_blocks_from_the_image():
    pair = build(NET)
    trains = make_method(FreezeDConfig(blocks=2), pair).trains("d")
    names = sorted({path.split("/")[0] for path in flatten(pair.d.specs()["params"]) if not trains(path)})
    assert names == ["b16", "b8", "from_rgb"]
    assert all(make_method(FreezeDConfig(blocks=2), pair).trains("g")(p) for p in flatten(pair.g.specs()["params"]))


def test_freezing_all_of_d_is_refused():
    with pytest.raises(ConfigError, match="transfer.blocks is 3, but D has 3 .b16, b8, b4.: freeze at most 2"):
        make_method(FreezeDConfig(blocks=3), build(NET))
