from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import gan_jax
from gan_jax.config import ConfigError
from gan_jax.data.convert import to_uint8
from gan_jax.tasks.image import draw_latents
from gan_jax.tasks.model import load, save
from gan_jax.tasks.sample import make_restatistics, make_sampler
from tests.train.toy import NET, build_toy

KEY = jax.random.key(3)


@pytest.fixture(scope="module", params=[0, 3], ids=["unconditional", "conditional"])
def toy(request):
    pair = build_toy(dataclasses.replace(NET, num_classes=request.param))
    with jax.numpy_rank_promotion("allow"):
        return pair, jax.jit(pair.g.init)(jax.random.key(0)), make_sampler(pair)


def test_samples_do_not_depend_on_how_many_there_are(toy):
    _, g_vars, sample = toy
    many = sample(g_vars, KEY, 200)
    assert many.shape == (200, 16, 16, 1) and many.dtype == np.uint8
    assert len(np.unique(many.reshape(200, -1), axis=0)) == 200, "those of the second chunk are others"
    for n in (1, 7, 128, 129):
        assert_array_equal(sample(g_vars, KEY, n), many[:n])
    assert (sample(g_vars, jax.random.key(4), 1) != many[:1]).any()


def test_labels(toy):
    pair, g_vars, sample = toy
    if not pair.config.num_classes:
        with pytest.raises(ValueError, match="unconditional"):
            sample(g_vars, KEY, 2, [0, 1])
        return
    assert_array_equal(sample(g_vars, KEY, 5), sample(g_vars, KEY, 5, [0, 1, 2, 0, 1]))
    for wrong in ([0, 1], [0, 3, 1], [-1, 0, 0]):
        with pytest.raises(ValueError, match="labels must be 3 classes from 0 to 2"):
            sample(g_vars, KEY, 3, wrong)


def test_statistics_are_those_of_the_weights_as_they_are(toy):
    pair, g_vars, _ = toy
    # Weights that moved since their running statistics were taken, as those of a moving average have.
    params = jax.tree_util.tree_map(lambda x: 3 * x + 0.5, g_vars["params"])
    g_vars = {**g_vars, "params": params}
    got = make_restatistics(pair, 32)(g_vars, KEY, 4)
    z = draw_latents(jax.vmap(jax.random.fold_in, (None, 0))(KEY, jnp.arange(128)), pair.config.z_dim)
    h = (z @ params["stem"]["kernel"] + params["stem"]["bias"][None]).reshape(4, -1, 4)  # batches, examples x pixels, C
    assert_allclose(got["batch_stats"]["norm0"]["mean"], h.mean((0, 1)), rtol=1e-4, atol=1e-5)
    assert_allclose(got["batch_stats"]["norm0"]["var"], h.var(1).mean(0), rtol=1e-3)
    assert got["params"] is params
    assert make_restatistics(pair, 32)(g_vars, KEY, 0) is g_vars


def test_truncated_latents_are_normal_ones_within_the_threshold():
    keys = jax.vmap(jax.random.fold_in, (None, 0))(KEY, jnp.arange(20_000))
    z = np.asarray(draw_latents(keys, 2, 0.5))
    assert 0.499 < np.abs(z).max() <= 0.5
    # variance of a standard normal within +- t: 1 - 2 t phi(t) / (2 Phi(t) - 1)
    assert_allclose(z.var(), 1 - 2 * 0.5 * 0.35206533 / 0.38292492, rtol=0.02)
    assert_allclose(np.asarray(draw_latents(keys[:3], 2, 0.5)), z[:3])
    wide = np.asarray(draw_latents(keys, 2, 8.0))
    assert_allclose([wide.mean(), wide.std()], [0, 1], atol=0.02)


def test_truncation_of_latents_and_of_styles(toy):
    pair, g_vars, sample = toy
    near = make_sampler(pair, 1e-6)(g_vars, KEY, 4)
    at_zero = np.asarray(to_uint8(pair.g.apply(g_vars, jnp.zeros((4, pair.config.z_dim)), _labels(pair))[0]))
    assert_allclose(near.astype(int), at_zero.astype(int), atol=1)
    assert np.any(near != sample(g_vars, KEY, 4))
    with pytest.raises(ValueError, match="truncation is 0; use a number above 0"):
        make_sampler(pair, 0.0)
    drawn = {}
    parts = {
        "map": lambda v, z, y, psi: drawn.update(psi=psi) or z * psi,
        "synthesise": lambda v, ws: pair.g.apply(v, ws)[0],
    }
    if not pair.config.num_classes:
        styled = dataclasses.replace(pair, g=dataclasses.replace(pair.g, parts=parts))
        assert_array_equal(make_sampler(styled, 1.0)(g_vars, KEY, 4), sample(g_vars, KEY, 4))
        assert np.any(make_sampler(styled, 0.5)(g_vars, KEY, 4) != sample(g_vars, KEY, 4)) and drawn["psi"] == 0.5


def _labels(pair):
    return jnp.arange(4) % pair.config.num_classes if pair.config.num_classes else None


def test_a_saved_model_samples_in_three_lines(toy, tmp_path, monkeypatch):
    pair, g_vars, sample = toy
    monkeypatch.setattr("gan_jax.nets.resnet.make", build_toy)
    d_vars = jax.jit(pair.d.init)(jax.random.key(1))
    save(tmp_path / "w", pair.config, {"g_ema": g_vars, "d": d_vars}, {"licence": "CC0-1.0"})
    assert_array_equal(gan_jax.load(tmp_path / "w").sample(KEY, 9), sample(g_vars, KEY, 9))
    model = load(tmp_path / "w")
    assert model.config == pair.config and model.manifest["licence"] == "CC0-1.0"
    assert_array_equal(model.variables["d"]["params"]["head"]["kernel"], d_vars["params"]["head"]["kernel"])


def test_a_run_without_weights_says_so(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="has not finished; go on with gan-jax train"):
        load(tmp_path)
