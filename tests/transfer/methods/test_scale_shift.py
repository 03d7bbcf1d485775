"""Scale and shift: what norms scale and shift by, or what comes nearest, trains against D."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.config import BigGANConfig, MLPConfig, R3GANConfig, ResNetConfig, ScaleShiftConfig, StyleGAN2Config
from gan_jax.nets.build import build
from gan_jax.transfer.adapters import attach, bake
from gan_jax.transfer.layers import scales_and_shifts
from gan_jax.transfer.methods import make_method
from gan_jax.trees import flatten
from tests.train.toy import build_toy
from tests.transfer.methods import conformance as ask

STYLED = StyleGAN2Config(resolution=8, channels=1, z_dim=4, w_dim=4, mapping_layers=1, channel_max=4)


@pytest.mark.parametrize("d_frozen", [False, True])
def test_norms_train_against_d_or_its_head(d_frozen, monkeypatch):
    monkeypatch.setattr("gan_jax.nets.resnet.make", build_toy)
    config = ask.make_config(ScaleShiftConfig(d_frozen=d_frozen))
    in_d = "d/params/head/" if d_frozen else "d/params/"
    begun = ask.conform(config)
    ask.assert_trains(begun, lambda path: path.startswith(("g/params/norm0/", in_d)))
    if d_frozen:
        ask.assert_identity(begun)


def test_without_norms_filters_are_scaled_and_biases_shift():
    net = MLPConfig(resolution=16, channels=1, z_dim=4, g_widths=(4,), d_widths=(4,))
    begun = ask.conform(ask.make_config(ScaleShiftConfig(), net=net))
    ask.assert_identity(begun)
    scales = ("g/params/adapter/fc0/kernel/scale", "g/params/adapter/to_rgb/kernel/scale")
    ask.assert_trains(begun, lambda path: path in scales or path.endswith("/bias") or path.startswith("d/"))
    ask.assert_baked(begun)


def trained(net):
    method = make_method(ScaleShiftConfig(), build(net))
    chosen = method.trains("g")
    return {path for path in flatten(method.wrap(build(net)).g.specs()["params"]) if chosen(path)}


def test_each_family_has_scales_and_shifts():
    resnet = trained(ResNetConfig(resolution=8, z_dim=4, channel_max=4))
    assert resnet == {
        f"{norm}/{leaf}" for norm in ("b8/norm0", "b8/norm1", "to_rgb_norm") for leaf in ("scale", "bias")
    }
    conditional = trained(BigGANConfig(resolution=16, num_classes=3, shared_dim=4, z_dim=12, width=1, attention=()))
    assert "b8/norm0/gain/kernel" in conditional and not any("conv" in path for path in conditional)
    r3gan = trained(R3GANConfig(resolution=8, z_dim=4, widths=(4,), cardinality=(2,), blocks=(1,)))
    assert "b8/res0/conv0/bias" in r3gan and "adapter/b8/res0/conv1/kernel/scale" in r3gan
    styled = trained(STYLED)
    assert "adapter/synthesis/b8/conv0/affine/kernel/scale" in styled and "synthesis/b8/conv1/bias" in styled
    assert not any("mapping" in path for path in styled)


def test_demodulation_would_undo_a_factor_for_each_filter_but_not_for_each_style():
    pair = build(STYLED)
    variables, z = jax.jit(pair.g.init)(jax.random.key(0)), jax.random.normal(jax.random.key(1), (2, 4))
    images = jax.jit(lambda params: pair.g.apply({**variables, "params": params}, z)[0])
    adapter = scales_and_shifts(pair)[1]
    params = jax.jit(lambda params: attach(adapter, params, jax.random.key(0)))(variables["params"])
    doubled = jax.tree_util.tree_map(
        lambda x: np.asarray(x) * np.arange(1.0, 1.0 + len(x), dtype=np.float32), params["adapter"]
    )
    before, after = (
        images(variables["params"]),
        images(jax.jit(lambda params: bake(adapter, params))({**params, "adapter": doubled})),
    )
    assert np.abs(before - after).max() > 0.01
    flat = variables["params"]["synthesis"]["b8"]["conv0"]
    scaled = jax.tree_util.tree_map(lambda x: x, variables["params"])
    scaled["synthesis"]["b8"]["conv0"] = {**flat, "kernel": flat["kernel"] * jnp.arange(1.0, 5.0)[None, None, None]}
    np.testing.assert_allclose(images(scaled), before, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_real_stylegan2_trains_its_styles():
    config = ask.make_config(ScaleShiftConfig(), net=StyleGAN2Config(16, 1, z_dim=4, w_dim=4, channel_max=4))
    begun = ask.conform(config)
    ask.assert_identity(begun)
    moves = lambda path: path.startswith("d/") or path.removeprefix("g/params/") in trained(config.net)
    ask.assert_only(begun, moves, times=2)
    ask.assert_baked(begun)
