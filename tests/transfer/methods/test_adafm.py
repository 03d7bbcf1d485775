"""AdaFM: G's convolutions under modulation, its first layers fresh, D's image side frozen."""

import pytest

from gan_jax.config import AdaFMConfig, Config, ConfigError, MLPConfig, ResNetConfig
from gan_jax.nets.build import build
from gan_jax.transfer.methods import make_method
from gan_jax.transfer.run import plan_transfer
from tests.transfer.methods import conformance as ask
from tests.transfer.methods.convolved import build_convolved

MODULATIONS = tuple(f"g/params/adapter/{name}/kernel/" for name in ("b8", "to_rgb"))
FROZEN = ("d/params/from_rgb/", "d/params/b4/")


@pytest.mark.parametrize("fresh", [0, 1])
def test_modulations_fresh_blocks_and_ds_upper_blocks_move(fresh, monkeypatch):
    monkeypatch.setattr("gan_jax.nets.resnet.make", build_convolved)
    config = ask.make_config(AdaFMConfig(d_blocks=1, fresh_blocks=fresh))
    whole = ("g/params/stem/",) if fresh else ()
    moves = lambda path: path.startswith((*MODULATIONS, *whole, "d/")) and not path.startswith(FROZEN)
    begun = ask.conform(config)
    ask.assert_trains(begun, moves)
    if fresh == 0:
        ask.assert_identity(begun)
        ask.assert_baked(begun)


def test_fresh_blocks_take_nothing_from_the_source_and_are_not_modulated():
    net = ResNetConfig(resolution=16, channels=1)
    plan = plan_transfer(Config(net=net, transfer=AdaFMConfig(fresh_blocks=2)))
    alone = {entry.target for entry in plan.entries if not entry.sources}
    assert {"g/params/stem/kernel", "g/params/b8/conv0/kernel"} <= alone
    assert not any(path.startswith(("g/params/b16/", "d/")) for path in alone)
    frozen = {entry.target for entry in plan.entries if entry.frozen}
    assert "g/params/stem/kernel" not in frozen and "d/params/b4/conv0/kernel" not in frozen  # fresh, or fine-tuned
    assert {"g/params/b16/conv0/kernel", "d/params/from_rgb/kernel"} <= frozen
    adapter = make_method(AdaFMConfig(fresh_blocks=2), build(net)).grafts["g"].adapter
    assert set(adapter.patterns) == {f"b16/{name}/kernel" for name in ("conv0", "conv1", "skip")} | {"to_rgb/kernel"}


def test_what_cannot_be_modulated_or_frozen_is_said():
    pair = build(MLPConfig(resolution=16, z_dim=4, g_widths=(4, 4), d_widths=(4, 4, 4, 4)))
    with pytest.raises(ConfigError, match="MLPConfig has no convolution in G to modulate; use lora"):
        make_method(AdaFMConfig(), pair)
    pair = build(ResNetConfig(resolution=16, channel_max=4))
    with pytest.raises(ConfigError, match=r"transfer.fresh_blocks is 3, but G has 3 .*use at most 2"):
        make_method(AdaFMConfig(fresh_blocks=3), pair)
    with pytest.raises(ConfigError, match=r"transfer.d_blocks is 3, but D has 3 .*freeze at most 2"):
        make_method(AdaFMConfig(d_blocks=3), pair)


@pytest.mark.slow
def test_a_real_resnet():
    net = ResNetConfig(16, 1, z_dim=4, channel_base=64, channel_max=4)
    begun = ask.conform(ask.make_config(AdaFMConfig(d_blocks=1), net=net))
    ask.assert_identity(begun)
    frozen = ("d/params/from_rgb/", "d/params/b16/")
    moves = lambda path: "/adapter/" in path or (path.startswith("d/") and not path.startswith(frozen))
    ask.assert_only(begun, moves)
    ask.assert_baked(begun)
