"""StyleGAN-NADA up to the encoder, which is a stub here: a few dense layers and a vector for each of three words."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.config import ConfigError, NADAConfig, OptimConfig, StyleGAN2Config
from gan_jax.nets.build import build
from gan_jax.transfer.layers import corrected
from gan_jax.transfer.methods import make_method
from gan_jax.transfer.methods.nada import (
    ENCODERS,
    FLOOR,
    Encoder,
    directional,
    embed_images,
    load_encoder,
    text_direction,
)
from tests.train.toy import build_toy
from tests.transfer.methods import conformance as ask
from tests.transfer.methods.resumed import NET as MLP
from tests.transfer.methods.resumed import assert_resumes

WORDS = {"photo": [1.0, 0.0, 0.0, 0.0], "sketch": [0.0, 2.0, 0.0, 0.0], "again": [3.0, 0.0, 0.0, 0.0]}


def stub(seed=0, size=16):
    """An encoder of images of `size` px, with something to learn from."""
    keys = jax.random.split(jax.random.key(seed))
    params = {"a": 0.3 * jax.random.normal(keys[0], (size * size * 3, 8)), "b": jax.random.normal(keys[1], (8, 4))}
    images = lambda p, x: jnp.tanh(x.reshape(len(x), -1) @ p["a"]) @ p["b"]
    return Encoder(params, images, lambda words: np.array(WORDS[words]))


@pytest.fixture(autouse=True)
def _stub(monkeypatch):
    monkeypatch.setitem(ENCODERS, "stub", stub)
    monkeypatch.setitem(ENCODERS, "small", lambda: stub(size=8))
    monkeypatch.setattr("gan_jax.nets.resnet.make", build_toy)


ALL = ask.make_config(NADAConfig(clip="stub", layers=0))
STYLED = StyleGAN2Config(
    resolution=8, channels=1, z_dim=4, w_dim=4, mapping_layers=1, channel_base=32, channel_max=4, mbstd_group=2
)
STYLED_16 = dataclasses.replace(STYLED, resolution=16)  # the size of the images of a whole run
ADAPTIVE = ask.make_config(NADAConfig(clip="small", layers=1, layer_batch=4), STYLED, batch=2)


def test_the_loss_is_the_angle_between_two_differences():
    way = jnp.array([0.0, 1.0])
    old = jnp.array([[1.0, 0.0]] * 4)
    new = old + jnp.array([[0.0, 2.0], [3.0, 0.0], [0.0, -1.0], [3.0, 4.0]])
    assert_allclose(directional(new, old, way), [0, 1, 2, 1 - 0.8], atol=1e-6)
    # Where nothing has moved there is a slope, and it is the direction's own.
    slope = jax.grad(lambda new: directional(new, old, way).sum())(old)
    assert_allclose(slope, np.tile(-np.asarray(way) / FLOOR, (4, 1)), rtol=1e-6)


def test_the_gradient_of_the_loss_is_that_of_differences_in_float64():
    with jax.enable_x64(True):
        way, old = jnp.array([0.6, 0.8, 0.0]), jnp.array([[0.1, -0.2, 0.3]])
        new = jnp.array([[0.5, 0.4, -0.3]])
        loss = lambda new: directional(new, old, way)[0]
        step = 1e-6 * jnp.eye(3)
        want = [(loss(new + e[None]) - loss(new - e[None])) / 2e-6 for e in step]
        assert_allclose(jax.grad(loss)(new)[0], want, rtol=1e-7, atol=1e-9)


def test_directions_and_embeddings_are_of_unit_length():
    encoder = load_encoder("stub")
    assert_allclose(text_direction(encoder, "photo", "sketch"), np.array([-1, 1, 0, 0]) / np.sqrt(2), rtol=1e-6)
    grey = jax.random.normal(jax.random.key(0), (3, 16, 16, 1))
    rows = embed_images(encoder, encoder.params, grey)
    assert_allclose(jnp.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    assert_allclose(rows, embed_images(encoder, encoder.params, jnp.concatenate([grey] * 3, -1)), rtol=1e-6)


def test_a_bias_correction_of_ones_own_is_that_of_adam_that_skipped():
    betas, m, v = jnp.array([0.5, 0.9]), 0.3, 0.2
    step = lambda n: (m / (1 - 0.5**n)) / np.sqrt(v / (1 - 0.9**n))
    assert_allclose(
        step(7) * corrected(betas, jnp.array([1, 3, 7]), jnp.array(7)), [step(1), step(3), step(7)], rtol=1e-5
    )
    assert_allclose(corrected(jnp.array([0.0, 0.99]), jnp.array([2]), jnp.array(2)), [1.0], rtol=1e-6)


def test_all_layers_train_and_d_does_not():
    begun = ask.conform(ALL)
    ask.assert_identity(begun)
    ask.assert_only(begun, lambda path: path.startswith("g/params/") and "to_rgb" not in path, times=3)


@pytest.mark.slow
def test_devices_do_the_same():
    ask.assert_same_on_devices(ask.conform(ALL), atol=1e-5)


def test_the_loss_falls_from_one():
    begun = ask.conform(ALL)
    assert_allclose(begun.after(1)[1]["direction"], 1.0, atol=1e-6)  # nothing has moved
    assert begun.after(30)[1]["direction"] < 0.5


def test_only_the_chosen_layers_move_in_a_step_and_the_others_are_equal_to_the_bit():
    config = dataclasses.replace(ADAPTIVE, optim=OptimConfig(lr=1e-2, b1=0.5, b2=0.9))
    begun = ask.conform(config)
    layer = lambda path: next((name for name in ("b4", "b8/conv0", "b8/conv1") if f"{name}/" in path), None)
    order = ["b4", "b8/conv0", "b8/conv1"]
    rows = [begun.before, *(begun.after(times)[0] for times in (1, 2, 3))]
    counted = np.zeros(3, int)
    for i, (before, after) in enumerate(zip(rows, rows[1:], strict=False)):
        chosen = before["kept/first"] if i == 0 else before["extras/nada_chosen"]
        counted += chosen
        assert chosen.sum() == 1
        assert_array_equal(after["extras/nada_counts"], counted)
        assert_array_equal(after["kept/first"], before["kept/first"])
        moved = {path for path in before if (before[path] != after[path]).any()}
        for path in before:
            root = path.split("/")[0]
            if root not in ("g", "g_ema", "opt_g", "d", "opt_d") or "moving" in path or path.endswith("count"):
                continue
            name = layer(path)
            trains = root in ("g", "g_ema", "opt_g") and name is not None and not any(
                part in path for part in ("to_rgb", "noise", "mapping")
            )  # fmt: skip
            if not trains or not chosen[order.index(name)]:
                assert path not in moved, path
        name = order[int(np.flatnonzero(chosen)[0])]
        assert {f"{root}/params/synthesis/{name}/{'conv1/' * (name == 'b4')}kernel" for root in ("g", "g_ema")} <= moved
    # A layer that is chosen for the first time makes Adam's first step, whenever that is: as long as the step size.
    for i, (before, after) in enumerate(zip(rows, rows[1:], strict=False)):
        fresh = [j for j in range(3) if after["extras/nada_counts"][j] == 1 and before["extras/nada_counts"][j] == 0]
        for j in fresh:
            path = f"g/params/synthesis/{order[j]}/{'conv1/' * (j == 0)}kernel"
            assert_allclose(np.abs(after[path] - before[path]).max(), 1e-2, rtol=1e-2, err_msg=f"step {i}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("transfer", "net"), [(ALL.transfer, MLP), (ADAPTIVE.transfer, STYLED_16)], ids=["all layers", "chosen layers"]
)
def test_a_run_resumes_to_the_bit(transfer, net, tmp_path):
    transfer = dataclasses.replace(transfer, clip="stub")
    assert_resumes(transfer, tmp_path, net)


@pytest.mark.slow
def test_the_choice_is_the_same_everywhere():
    begun = ask.conform(ADAPTIVE)
    ask.assert_identity(begun)
    ask.assert_same_on_devices(begun)


def test_what_is_missing_is_said():
    with pytest.raises(ConfigError, match="transfer.clip is empty.*ENCODERS"):
        make_method(NADAConfig(), build(STYLED))
    with pytest.raises(ConfigError, match="'stab', which is no encoder .did you mean 'stub'.*ENCODERS"):
        load_encoder("stab")
    with pytest.raises(ConfigError, match="CLIP's networks are not part of this version"):
        load_encoder("/tmp")
    with pytest.raises(ConfigError, match="'photo' and transfer.target_text 'again' are the same"):
        make_method(NADAConfig(clip="stub", target_text="again"), build(STYLED))
    with pytest.raises(ConfigError, match="only StyleGAN2 has; use 0 for all layers"):
        make_method(NADAConfig(clip="stub"), build(ALL.net))
    with pytest.raises(ConfigError, match="networks is d, but nada"):
        make_method(NADAConfig(clip="stub", networks="d"), build(STYLED))
