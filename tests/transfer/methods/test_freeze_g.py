"""Freeze-G: G's first layers stay, whatever a family calls them."""

import pytest

from gan_jax.config import ConfigError, DCGANConfig, FreezeDConfig, FreezeGConfig, ResNetConfig, StyleGAN2Config
from gan_jax.nets.build import build
from gan_jax.transfer.methods import make_method
from tests.train.toy import build_toy
from tests.transfer.methods import conformance as ask

CONFIG = ask.make_config(FreezeGConfig(blocks=1))


def trains(net, method, network="g"):
    return make_method(method, build(net)).trains(network)


def test_the_first_layers_stay_and_all_else_trains(monkeypatch):
    monkeypatch.setattr("gan_jax.nets.resnet.make", build_toy)
    begun = ask.conform(CONFIG)
    ask.assert_identity(begun)
    ask.assert_trains(begun, lambda path: not path.startswith("g/params/stem/"))


def test_stylegan2s_mapping_is_the_first_layer():
    net = StyleGAN2Config(resolution=16, channel_max=4, z_dim=4, w_dim=4)
    one_block, two_blocks = trains(net, FreezeGConfig(blocks=1)), trains(net, FreezeGConfig(blocks=2))
    assert not one_block("mapping/fc0/kernel") and one_block("synthesis/b4/const")
    assert not two_blocks("synthesis/b4/const") and two_blocks("synthesis/b8/conv0/kernel")


def test_a_norm_beside_its_block_stays_with_it():
    net = DCGANConfig(resolution=32, channel_max=4, z_dim=4)
    g = trains(net, FreezeGConfig(blocks=2))
    assert [g(f"{name}/scale") for name in ("norm4", "norm8", "norm16")] == [False, False, True]
    d = trains(net, FreezeDConfig(blocks=1), "d")
    assert [d(path) for path in ("from_rgb/kernel", "norm8/scale", "norm4/scale", "b4/kernel")] == [
        False, False, True, True,
    ]  # fmt: skip


def test_something_must_be_left_to_train():
    net = ResNetConfig(resolution=16, channel_max=4, z_dim=4)
    with pytest.raises(ConfigError, match=r"transfer.blocks is 3, but G has 3 \(stem, b8, b16\): use at most 2"):
        make_method(FreezeGConfig(blocks=3), build(net))
