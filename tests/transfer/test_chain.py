"""Methods combined: what trains, what is paid, what is kept, and which pairs of methods are refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gan_jax.config import (
    FUSIONS,
    METHOD_NAMES,
    CDCConfig,
    ChainConfig,
    ConfigError,
    DCLConfig,
    EWCConfig,
    FeatureDistillationConfig,
    FreezeDConfig,
    GradientFusionConfig,
    KMLConfig,
    L2SPConfig,
    LoRAConfig,
    MergeConfig,
    MLPConfig,
    PreserveConfig,
    ResNetConfig,
    RSSAConfig,
)
from gan_jax.nets import build
from gan_jax.tasks.model import load
from gan_jax.transfer.chain import chain
from gan_jax.transfer.methods import make_method
from gan_jax.transfer.run import run
from gan_jax.transfer.start import make_start
from gan_jax.trees import flatten
from tests.train.checkpoint_states import assert_same
from tests.train.toy import run_config, save_pairs
from tests.transfer.methods import conformance as ask
from tests.transfer.methods.resumed import Stops

NET = MLPConfig(resolution=16, channels=1, z_dim=4, g_widths=(8,), d_widths=(8, 8, 8))
MAPS = ResNetConfig(resolution=16, channels=1, z_dim=4, channel_base=64, channel_max=4)


def made(*configs, net=NET):
    pair = build(net)
    return chain(*(dataclasses.replace(make_method(c, pair), name=type(c).__name__) for c in configs))


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    save_pairs(folder, NET)
    return folder


def config_of(sources, transfer, kimg=0.032, **train):
    transfer = dataclasses.replace(transfer, source=str(sources / "first"))
    if hasattr(transfer, "donors"):
        transfer = dataclasses.replace(transfer, donors=(str(sources / "second"),))
    config = run_config(f"npz:{sources / 'data.npz'}", kimg=kimg, devices=1, **train)
    return dataclasses.replace(config, net=NET, transfer=transfer)


def values(tree):
    return {path: np.asarray(leaf) for path, leaf in flatten(tree).items()}


def test_one_method_is_itself():
    method = make_method(EWCConfig(), build(NET))
    assert chain(method) is method
    with pytest.raises(ConfigError, match="at least one"):
        chain()


def test_lora_with_ewc_pays_for_its_additions_alone():
    whole = made(LoRAConfig(rank=2), EWCConfig(samples=16, balance=0.1))
    begun = ask.begin(ask.make_config(EWCConfig(samples=16, balance=0.1), NET), whole)
    rows, state = [begun.after(times)[1] for times in range(1, 5)], begun.state_after(4)
    assert set(state.constants) == {"LoRAConfig", "EWCConfig"} and state.constants["LoRAConfig"] == {}
    start = values(state.constants["EWCConfig"]["start"])
    now = values(state.nets["g"]["params"])
    assert start.keys() == now.keys()
    for path, leaf in start.items():
        assert (now[path] != leaf).any() == path.startswith("adapter/"), path
    assert rows[-1]["ewc"] > 0, "moving is paid for"
    assert any(
        (leaf != 0).any() for path, leaf in values(state.constants["EWCConfig"]["fisher"]).items() if "adapter" in path
    )


@pytest.mark.slow
def test_a_chain_is_resumed_to_the_bit(sources, tmp_path):
    def lora_l2(transfer, pair):
        return chain(
            dataclasses.replace(make_method(LoRAConfig(rank=2, source=transfer.source), pair), name="lora"),
            dataclasses.replace(make_method(transfer, pair), name="l2_sp"),
        )

    config = config_of(sources, L2SPConfig(strength=0.1), kimg=0.112)
    whole = run(config, tmp_path / "whole", method=lora_l2, quiet=True)
    with pytest.raises(Stops.Broken):
        run(config, tmp_path / "cut", Stops(), method=lora_l2)
    assert_same(run(config, tmp_path / "cut", method=lora_l2, quiet=True).state, whole.state)


@pytest.mark.slow
def test_a_chain_of_the_table_is_a_run_and_a_member_of_a_population(sources, tmp_path):
    from gan_jax.transfer.benchmark.population import make_setup, train_population
    from gan_jax.transfer.dataset import load_dataset

    transfer = ChainConfig(methods=(LoRAConfig(rank=2), L2SPConfig(strength=0.1)))
    config = config_of(sources, transfer)
    alone = run(config, tmp_path / "alone", quiet=True).state
    setup, dataset = make_setup(config, 24), load_dataset(config)
    trained = train_population(setup, [setup.replica(config, dataset)], lambda *_: None, lambda: False)
    want, got = values(alone.ema["g"]), values(trained.states[0].ema["g"])
    assert set(alone.constants) == {"lora", "l2_sp"} and want.keys() == got.keys()
    for path, leaf in want.items():
        np.testing.assert_allclose(got[path], leaf, rtol=2e-4, atol=2e-6, err_msg=path)
    assert load(tmp_path / "alone").sample(0, 2).shape == (2, 16, 16, 1)


@pytest.mark.slow
def test_what_follows_a_fusion_holds_to_the_fused_generator(sources):
    config = config_of(sources, GradientFusionConfig(fuse_kimg=0.016, fuse_lr=0.3))
    fused = made(config.transfer, L2SPConfig(strength=1.0, source=config.transfer.source))
    ready = ask.prepared(config, make_start(config, build(NET), fused), fused)
    source = values(load(sources / "first").variables["g_ema"]["params"])
    held = values(ready.constants["L2SPConfig"]["g"])
    assert held.keys() == source.keys() and any((held[path] != source[path]).any() for path in source)


@pytest.mark.parametrize("name", sorted(FUSIONS))
def test_the_images_of_every_fusion_can_be_preserved(name):
    method = made(METHOD_NAMES[name](donors=("x",)), PreserveConfig(strength=2.0))
    (term,) = method.extension.regularisers
    assert (term.name, term.network, term.projected) == ("preserved", "g", True) and method.changes_source


def test_a_run_preserves_the_images_of_a_merge(sources, tmp_path):
    merged = MergeConfig(donors=(str(sources / "second"),))
    config = config_of(sources, ChainConfig(methods=(merged, PreserveConfig(strength=2.0, give_way=False))))
    rows = []

    class Rows(Stops):
        def row(self, row):
            rows.append(row)

    state = run(config, tmp_path, Rows()).state
    start, source = (
        values(state.constants["preserve"]["g"]["params"]),
        values(load(sources / "first").variables["g_ema"]["params"]),
    )
    assert start.keys() == source.keys() and any((start[path] != source[path]).any() for path in source)
    assert rows[0]["preserved"] >= 0 and rows[-1]["preserved"] > 0
    assert any((leaf != start[path]).any() for path, leaf in values(state.nets["g"]["params"]).items())


def test_freeze_d_with_cdc_freezes_and_judges_patches():
    method = made(FreezeDConfig(blocks=1), CDCConfig(anchor_every=2), net=MAPS)
    trains = method.trains("d")
    assert not trains("from_rgb/kernel") and trains("graft/patch/kernel") and trains("head/kernel")
    assert method.extension.capture and {term.name for term in method.extension.regularisers} == {"consistency"}
    assert method.grafts["d"].branches.keys() == {"patch"}


@pytest.mark.parametrize(
    ("configs", "net", "message"),
    [
        ((LoRAConfig(), KMLConfig()), NET, "LoRAConfig and KMLConfig cannot be combined: both adapt the leaves of"),
        ((CDCConfig(), RSSAConfig()), MAPS, "both add patch to d"),
        ((L2SPConfig(), L2SPConfig()), NET, "L2SPConfig is in a chain twice"),
        (
            (MergeConfig(donors=("x",)), GradientFusionConfig(donors=("x",))),
            NET,
            "both choose or make the G that training begins with",
        ),
        (
            (GradientFusionConfig(donors=("x",), preserve=1.0), PreserveConfig()),
            NET,
            "both have a term preserved",
        ),
    ],
)
def test_conflicts_are_refused_by_name(configs, net, message):
    with pytest.raises(ConfigError, match=message):
        made(*configs, net=net)


def test_no_d_to_ask():
    without = dataclasses.replace(make_method(L2SPConfig(), build(NET)), name="silent")
    without = dataclasses.replace(without, extension=dataclasses.replace(without.extension, adversarial=False))
    for other, words in ((DCLConfig(), "has a term of D"), (FeatureDistillationConfig(), "has a term of D")):
        held = dataclasses.replace(make_method(other, build(MAPS)), name="other")
        with pytest.raises(ConfigError, match=f"silent and other cannot be combined: .*{words}"):
            chain(without, held)
