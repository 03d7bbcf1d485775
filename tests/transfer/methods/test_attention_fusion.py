"""Attention fusion as a preparation: a conditional mixture distilled into a plain G, maps of channels, keys."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.config import AttentionFusionConfig, ConfigError, ResNetConfig
from gan_jax.fusion.attention import TEMPERATURE, Attention
from gan_jax.nets.build import build
from gan_jax.reserved import ADAPTER, ALIGN, DONORS, GATE
from gan_jax.transfer import fusing
from gan_jax.transfer.methods.attention_fusion import make as attention_fusion
from gan_jax.trees import flatten
from tests.transfer.methods import conformance as ask
from tests.transfer.methods.test_feature_fusion import MLP, prepared

BASE = AttentionFusionConfig(
    source="first", donors=("second",), align="none", scales=False, query="latent", with_source=True, gate=1.0,
    granularity="global", temperature=0.3, temperature_end=0.03, fuse_kimg=0.064, distil_kimg=6.4, collapse="distil",
)  # fmt: skip

CONVOLVED = ResNetConfig(resolution=8, channels=1, z_dim=3, channel_base=16, channel_max=4)


@pytest.fixture
def seen(monkeypatch):
    """What the lesson of a fusion was given."""
    inputs, distil = {}, fusing.distil

    def spy(context, config, nets, teacher, points, net):
        inputs.update(jax.device_get({"pupil": nets["g"], "d": nets["d"], "teacher": teacher}), net=net)
        return distil(context, config, nets, teacher, points, net)

    monkeypatch.setattr(fusing, "distil", spy)
    return inputs


@pytest.mark.slow
def test_a_plain_generator_learns_what_the_mixture_makes_of_each_latent(monkeypatch, seen):
    """From the mean of shares it comes to less than half as far from the mixture, which stays as its stage left it."""
    ready, starts, _ = prepared(monkeypatch, BASE, attention_fusion)
    pair, record = build(MLP), ready.record["fusion"]
    assert jax.tree.structure(ready.nets["g"]) == jax.tree.structure(starts["first"].nets["g"])
    assert ready.images == 64 + 6400 and record["learned"][-1]["images"] == 64
    rows = record["taught"]
    assert rows[-1]["images"] == 6400 and "share1" not in rows[0] and "d_loss" not in rows[0]
    jax.tree.map(assert_array_equal, ready.nets["d"], seen["d"])
    branch = seen["teacher"]["params"][ADAPTER]
    assert_allclose(branch[GATE][TEMPERATURE], 0.03, rtol=1e-5)
    donor = starts["second"].nets["g"]["params"]
    jax.tree.map(lambda leaf, donor_leaf: assert_array_equal(leaf[0], donor_leaf), branch[DONORS], donor)
    z = jax.random.normal(jax.random.key(11), (128, 3))
    want = jax.jit(seen["net"](pair).apply)(seen["teacher"], z)[0]
    far = lambda v: float(abs(jax.jit(pair.g.apply)(v, z)[0] - want).mean())
    assert far(ready.nets["g"]) < 0.5 * far(seen["pupil"])
    assert "the mixture was distilled into it" in ready.notes[0]


def test_the_lesson_begins_at_the_running_mean(monkeypatch, seen):
    mean, _, _ = prepared(monkeypatch, dataclasses.replace(BASE, collapse="mean"), attention_fusion)
    assert not seen and "taught" not in mean.record["fusion"]
    taught, _, _ = prepared(monkeypatch, dataclasses.replace(BASE, distil_kimg=0.032), attention_fusion)
    assert mean.record["fusion"]["shares"] == taught.record["fusion"]["shares"]
    assert (mean.images, taught.images) == (64, 96)
    jax.tree.map(assert_array_equal, seen["pupil"], mean.nets["g"])
    after = flatten(taught.nets["g"])
    assert all((after[path] != leaf).any() for path, leaf in flatten(mean.nets["g"]).items())


@pytest.mark.slow
def test_aligners_learn_beside_shares_and_are_baked(monkeypatch):
    states, learn = [], fusing._learn

    def spy(*args):
        states.append(learn(*args))
        return states[-1]

    monkeypatch.setattr(fusing, "_learn", spy)
    transfer = dataclasses.replace(BASE, query="free", collapse="mean", aligner=True, gate=0.5)
    ready, starts, _ = prepared(monkeypatch, transfer, attention_fusion, CONVOLVED)
    state, _ = states[0]
    for g in (state.nets["g"], state.ema["g"]):
        branch = g["params"][ADAPTER]
        assert branch[ALIGN] and all((leaf != 0).any() for leaf in flatten(branch[ALIGN]).values())
        donor = starts["second"].nets["g"]["params"]
        jax.tree.map(lambda leaf, donor_leaf: assert_array_equal(leaf[0], donor_leaf), branch[DONORS], donor)
    moments = flatten(state.opt["g"])
    assert any(f"/{ADAPTER}/{ALIGN}/" in f"/{path}" for path in moments)
    assert jax.tree.structure(ready.nets["g"]) == jax.tree.structure(starts["first"].nets["g"])
    bare = attention_shares(state.ema["g"]["params"])
    kernel, other = "b8/conv0/kernel", "to_rgb/kernel"
    for path in (kernel, other):
        source, donor = (flatten(starts[name].nets["g"]["params"])[path] for name in ("first", "second"))
        apart = np.abs(flatten(ready.nets["g"]["params"])[path] - (source + bare * (donor - source))).max()
        assert (apart > 1e-4) == (f"{ALIGN}/{path}" in flatten(state.ema["g"]["params"][ADAPTER])), path


@pytest.mark.slow
@pytest.mark.parametrize("keys", ["descriptor", "free"])
def test_keys_of_descriptors_give_the_same_donor_the_same_share(monkeypatch, keys):
    transfer = dataclasses.replace(
        BASE,
        donors=("second", "third", "second"),
        query="free",
        collapse="mean",
        keys=keys,
        d="mix",
        granularity="block",
        temperature=5.0,
        temperature_end=3.0,
    )
    ready, *_ = prepared(monkeypatch, transfer, attention_fusion)
    shares = ready.record["fusion"]["shares"]
    for network in ("g", "d"):
        for group, (a, other, b) in shares[network].items():
            assert (a == pytest.approx(b, abs=1e-5)) == (keys == "descriptor") and a != pytest.approx(other), group


def attention_shares(params):
    """The one donor's share of the one group."""
    return float(Attention(1, with_source=True).shares(params[ADAPTER][GATE])["all"][0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"query": "free"}, "a free query collapses into plain weights exactly"),
        ({"per": "batch"}, "one network makes all images of a batch"),
        ({"aligner": True}, "MLPConfig has none; use False"),
        ({"aligner": True, "shard_donors": True, "per": "batch", "collapse": "mean"}, "use one of the two"),
        ({"distil_kimg": 0.0}, "distil_kimg is 0, so that nothing is distilled"),
    ],
)
def test_what_cannot_be_is_an_error(options, message):
    with pytest.raises(ConfigError, match=message):
        attention_fusion(dataclasses.replace(BASE, **options), build(MLP))


def test_a_lesson_that_is_not_given_takes_no_time():
    config = ask.make_config(dataclasses.replace(BASE, fuse_kimg=0.6, distil_kimg=0.5), net=MLP)
    with pytest.raises(ConfigError, match="transfer.fuse_kimg 0.6 and transfer.distil_kimg 0.5 must be shorter"):
        config.validate()
    dataclasses.replace(config, transfer=dataclasses.replace(config.transfer, collapse="mean")).validate()
