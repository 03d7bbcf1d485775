"""AdAM and RICK: filters that are kept are kept to the bit, those that are pruned are zero, whatever else trains."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gan_jax.config import AdAMConfig, ConfigError, MLPConfig, RICKConfig
from gan_jax.nets.build import build
from gan_jax.transfer.methods import make_method
from tests.transfer.methods import conformance as ask
from tests.transfer.methods.resumed import assert_resumes

NET = MLPConfig(resolution=16, channels=1, z_dim=4, g_widths=(8, 8), d_widths=(8, 8, 8))
ADAM = ask.make_config(AdAMConfig(probe_kimg=0.016, probe_samples=16), net=NET)
RICK = ask.make_config(RICKConfig(warmup_kimg=0.008, every=3, batches=1, prune=20.0), net=NET)


def test_adam_keeps_or_trains_each_filter():
    begun = ask.conform(ADAM)
    ask.assert_identity(begun)
    before, (after, _) = begun.before, begun.after(8)
    masks = {path: before[path] for path in before if path.startswith(("g/", "d/")) and path.endswith("/mask")}
    assert sorted(masks) == [
        *(f"d/params/adapter/fc{i}/kernel/mask" for i in range(3)),
        "g/params/adapter/fc0/kernel/mask", "g/params/adapter/fc1/kernel/mask", "g/params/adapter/to_rgb/kernel/mask",
    ]  # fmt: skip
    for name in ("g", "d"):
        share = np.concatenate([mask for path, mask in masks.items() if path.startswith(name)]).mean()
        assert 0.4 <= share <= 0.6, "half of the filters of a group are kept"
    for path, keeps in masks.items():
        network, _, tail = path.partition("/params/adapter/")
        leaf = tail.removesuffix("/mask")
        averages = [f"g_ema/params/{leaf}"] if network == "g" else []
        for whole in (f"{network}/params/{leaf}", *averages):
            np.testing.assert_array_equal(after[whole][:, keeps], before[whole][:, keeps], err_msg=whole)
            assert (after[whole][:, ~keeps] != before[whole][:, ~keeps]).any(0).all() or not (~keeps).any(), whole
        (moment,) = [p for p in after if p.startswith(f"opt_{network}") and p.endswith(f"/mu/{leaf}")]
        assert not after[moment][:, keeps].any()
        gate = f"{network}/params/adapter/{leaf}/v"
        np.testing.assert_array_equal(after[gate][~keeps], before[gate][~keeps], err_msg=gate)
    assert "opt_g" in "".join(after) and not [p for p in after if "/mu/" in p and p.endswith("fc0/bias")]
    ask.assert_baked(begun)


@pytest.mark.slow
def test_adam_probe_counts_towards_the_budget_and_resumes(tmp_path):
    left = assert_resumes(AdAMConfig(probe_kimg=0.016, probe_samples=16), tmp_path, NET)
    assert int(left.state.images) == 112


def test_rick_holds_and_prunes():
    begun = ask.conform(RICK)
    cold = RICKConfig(warmup_kimg=0, every=3, batches=1)  # a warm-up moves D's head before the first step
    ask.assert_identity(ask.conform(dataclasses.replace(RICK, transfer=cold)))
    steps = [begun.before, *(begun.after(times)[0] for times in range(1, 8))]
    kernels = [path.removeprefix("extras/rick_held/") for path in steps[0] if path.startswith("extras/rick_held/")]
    assert sorted(kernels) == ["d/fc0/kernel", "d/fc1/kernel", "d/fc2/kernel", "g/fc0/kernel", "g/fc1/kernel"]
    for before, after in zip(steps, steps[1:]):
        for path in kernels:
            network, _, leaf = path.partition("/")
            held, gone = before[f"extras/rick_held/{path}"], after[f"extras/rick_pruned/{path}"]
            assert (before[f"extras/rick_pruned/{path}"] <= gone).all(), "pruned for good"
            names = [f"{network}/params/{leaf}", *([f"g_ema/params/{leaf}"] if network == "g" else [])]
            names += [p for p in after if p.startswith(f"opt_{network}") and p.endswith(leaf)]
            assert len(names) >= 3, "weights and both moments"
            for name in names:
                still = held & ~gone
                np.testing.assert_array_equal(after[name][:, still], before[name][:, still], err_msg=name)
                assert not after[name][:, gone].any(), name
    pruned = np.concatenate([steps[-1][f"extras/rick_pruned/{path}"] for path in kernels])
    held = np.concatenate([steps[-1][f"extras/rick_held/{path}"] for path in kernels])
    assert 0 < pruned.mean() < 0.6 and 0.4 < held.mean() < 0.8
    moved = [
        path
        for path in steps[0]
        if path.startswith(("g/params/", "d/params/")) and (steps[-1][path] != steps[0][path]).any()
    ]
    assert {"g/params/fc0/kernel", "g/params/to_rgb/kernel", "d/params/head/kernel", "d/params/fc0/kernel"} <= set(
        moved
    )


@pytest.mark.slow
def test_rick_resumes(tmp_path):
    left = assert_resumes(RICKConfig(warmup_kimg=0.016, every=2, batches=1, prune=20.0), tmp_path, NET)
    pruned = left.state.extras["rick_pruned"]["g"]["fc1/kernel"]
    saved = left.state.nets["g"]["params"]["fc1"]["kernel"]
    assert not np.asarray(saved)[:, np.asarray(pruned)].any()


@pytest.mark.slow
@pytest.mark.parametrize("config", [ADAM, RICK], ids=["adam", "rick"])
def test_the_same_game_everywhere(config):
    ask.assert_same_on_devices(ask.conform(config))


@pytest.mark.parametrize(
    "transfer", [AdAMConfig(networks="d"), RICKConfig(networks="g"), RICKConfig(every=2, batches=3)]
)
def test_what_cannot_be(transfer):
    with pytest.raises(ConfigError, match="use both|lower it"):
        make_method(transfer, build(NET))
