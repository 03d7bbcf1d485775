"""LoRA and kernel modulation: G, and if asked D, frozen under few new numbers for each kernel."""

import jax
import numpy as np
import pytest

from gan_jax.config import KMLConfig, LoRAConfig, StyleGAN2Config
from gan_jax.nets.build import build
from gan_jax.transfer.methods import make_method
from gan_jax.trees import flatten
from tests.transfer.methods import conformance as ask
from tests.transfer.methods.convolved import build_convolved

METHODS = {"lora": LoRAConfig, "kml": KMLConfig}


@pytest.fixture(autouse=True)
def _convolved(monkeypatch):
    monkeypatch.setattr("gan_jax.nets.resnet.make", build_convolved)


@pytest.mark.parametrize("name", METHODS)
def test_only_what_is_added_and_ds_head_train(name):
    config = ask.make_config(METHODS[name](d_adapted=True))
    added = ("g/params/adapter/", "d/params/adapter/", "d/params/head/")
    begun = ask.conform(config)
    ask.assert_identity(begun)
    ask.assert_trains(begun, lambda path: path.startswith(added))
    ask.assert_baked(begun)


@pytest.mark.parametrize("name", METHODS)
def test_d_is_fine_tuned_unless_it_is_adapted(name):
    method = make_method(METHODS[name](), build(ask.make_config(None).net))
    assert set(method.grafts) == {"g"} and method.trains("d")("from_rgb/kernel")
    assert not method.trains("g")("stem/bias") and method.trains("g")("adapter/stem/kernel/b")


def test_the_addition_counts_alpha_over_rank_and_is_of_that_rank():
    pair = build(ask.make_config(None).net)
    method = make_method(LoRAConfig(rank=2, alpha=6.0), pair)
    g = method.attach("g", jax.jit(pair.g.init)(jax.random.key(0)), jax.random.key(1))
    arrays = g["params"]["adapter"]["b8"]["kernel"]
    arrays["b"] = jax.random.normal(jax.random.key(2), arrays["b"].shape)
    change = method.plain("g", g)["params"]["b8"]["kernel"] - g["params"]["b8"]["kernel"]
    by_hand = 3.0 * np.float64(arrays["a"]) @ np.float64(arrays["b"])
    np.testing.assert_allclose(change.reshape(-1, 3), by_hand, rtol=1e-4, atol=1e-5)
    assert np.linalg.matrix_rank(np.float64(change.reshape(-1, 3)), tol=1e-5) == 2


def test_a_mapping_network_has_no_gates_and_a_head_none_of_either():
    pair = build(StyleGAN2Config(resolution=8, z_dim=4, w_dim=4, channel_max=4, mapping_layers=1))
    paths = lambda config, network: set(
        flatten(make_method(config, pair).wrap(pair).nets[network].specs()["params"]["adapter"])
    )
    assert not any("mapping" in path for path in paths(KMLConfig(), "g"))
    assert "mapping/fc0/kernel/a" in paths(LoRAConfig(), "g")
    for config in (KMLConfig(d_adapted=True), LoRAConfig(d_adapted=True)):
        assert not any("b4/out" in path for path in paths(config, "d"))
        assert any("b4/fc/kernel" in path for path in paths(config, "d"))
        assert make_method(config, pair).trains("d")("b4/out/bias")


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_real_stylegan2(name):
    net = StyleGAN2Config(16, 1, z_dim=4, w_dim=4, channel_max=4, mapping_layers=2)
    begun = ask.conform(ask.make_config(METHODS[name](d_adapted=True), net=net))
    ask.assert_identity(begun)
    ask.assert_only(begun, lambda path: "/adapter/" in path or path.startswith("d/params/b4/out/"))
    ask.assert_baked(begun)
