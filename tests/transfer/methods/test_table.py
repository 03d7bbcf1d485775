"""Methods are found by the names of their configurations, and none freezes a network that is fresh."""

from __future__ import annotations

import dataclasses
import re

import pytest

from gan_jax import config as c
from gan_jax.config import METHOD_NAMES, ConfigError, MLPConfig, ResNetConfig
from gan_jax.nets import build
from gan_jax.transfer.methods import make_method

NET = ResNetConfig(resolution=16, channels=1, z_dim=4, channel_base=64, channel_max=4)


@pytest.mark.parametrize("name", ["scratch", "finetune", "freeze_d", "lora", "ewc", "merge", "cocktail"])
def test_a_method_has_the_name_of_its_row(name):
    config = METHOD_NAMES[name]()
    if config.fuses:
        config = dataclasses.replace(config, donors=("other",))
    assert make_method(config, build(NET)).name == name


@pytest.mark.parametrize(
    ("transfer", "message"),
    [
        (c.FreezeDConfig(networks="g"), "transfer.networks g leaves a fresh D, whose blocks must not be frozen; use both or d"),
        (c.FreezeGConfig(networks="d"), "networks d leaves a fresh G, whose blocks must not be frozen; use both or g"),
        (c.LoRAConfig(networks="g", d_adapted=True), "networks g leaves a fresh D"),
        (c.LoRAConfig(networks="d"), "networks d leaves a fresh G"),
        (c.KMLConfig(networks="d"), "networks d leaves a fresh G"),
        (c.ScaleShiftConfig(networks="d"), "networks d leaves a fresh G"),
        (c.ScaleShiftConfig(networks="g", d_frozen=True), "networks g leaves a fresh D"),
        (c.FSGANConfig(networks="d"), "networks d leaves a fresh G"),
        (c.FSGANConfig(networks="g"), "networks g leaves a fresh D"),
        (c.AdaFMConfig(networks="d"), "networks d leaves a fresh G"),
        (c.AdaFMConfig(networks="g"), "networks g leaves a fresh D"),
        (c.BSAConfig(networks="d", images=4), "networks d leaves a fresh G"),
    ],
)  # fmt: skip
def test_a_fresh_network_must_not_be_frozen(transfer, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        make_method(transfer, build(NET))


@pytest.mark.parametrize(
    "transfer",
    [
        *(c.FreezeDConfig(networks="d"), c.FreezeGConfig(networks="g"), c.LoRAConfig(networks="g")),
        *(c.ScaleShiftConfig(networks="g"), c.BSAConfig(images=4)),  # BSA has no game in which a D would play
    ],
)
def test_what_starts_from_the_source_may_be(transfer):
    assert make_method(transfer, build(NET)).frozen


def test_a_configuration_of_no_row_and_a_row_without_a_file(monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class LostConfig(c.FinetuneConfig):
        pass

    with pytest.raises(ConfigError, match="no method for LostConfig; the known ones are scratch, finetune"):
        make_method(LostConfig(), build(NET))
    monkeypatch.setitem(METHOD_NAMES, "lost", LostConfig)
    with pytest.raises(
        ConfigError, match=r"lost has a row in METHOD_NAMES, but there is no module gan_jax\.transfer\.methods\.lost"
    ):
        make_method(LostConfig(), build(NET))

    @dataclasses.dataclass(frozen=True)
    class HoleConfig(MLPConfig):
        pass

    with pytest.raises(ConfigError, match="no network for HoleConfig; the known ones are resnet, dcgan"):
        build(HoleConfig())
    monkeypatch.setitem(c.NETS, "layers", HoleConfig)  # a module of that name makes no pair
    with pytest.raises(ConfigError, match=r"layers has a row in NETS, but gan_jax\.nets\.layers has no make"):
        build(HoleConfig())
