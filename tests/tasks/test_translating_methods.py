"""Methods of transfer on every task of images from images: which leaves they train, and the terms that they add."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gan_jax.config import (
    BSAConfig,
    ChainConfig,
    ConfigError,
    EWCConfig,
    FreezeDConfig,
    KMLConfig,
    L2SPConfig,
    LoRAConfig,
    LossConfig,
    TrainConfig,
    UnpairedTask,
)
from gan_jax.tasks import networks_of
from gan_jax.tasks.unpaired import unpaired_task
from gan_jax.train.fit import Hooks
from gan_jax.transfer.methods import make_method
from tests.lanes import default_rows
from tests.tasks.lines import Stack, batch, unpaired_nets
from tests.tasks.lines import begin as start_of_lines
from tests.tasks.lines import config_of as line_config
from tests.tasks.translating import BATCH, TASKS, begin, config_of, values

SHORT = TrainConfig(batch=BATCH, steps_per_dispatch=2, kimg=2 * BATCH / 1000, devices=1)


def trained(name, transfer):
    """`(networks, leaves before, leaves after, metrics of the last dispatch, state)` of two steps."""
    config = config_of(name, train=SHORT)
    return networks_of(config), *fitted(*begin(config, transfer))


def fitted(trainer, state):
    """`(leaves before, leaves after, metrics of the last dispatch, state)`."""
    before, rows = values(state.nets), []
    state, _ = trainer.fit(state, Hooks(row=lambda images, row: rows.append(row)))
    return before, values(state.nets), rows[-1], state


@pytest.mark.parametrize("name", default_rows(TASKS, ["paired"]))
def test_a_chain_freezes_and_holds(name):
    check_chain("/kernel", *trained(name, CHAIN))


def test_a_chain_freezes_and_holds_two_translators_of_a_few_numbers(monkeypatch):
    nets = unpaired_nets(
        1.5, 0.5, (0.7, 0.1), (-0.4, 0.3), Stack, d_blocks=("from_rgb", "layer1", "layer2"), d_head=("head",),
        reads={"g_ab": "input", "g_ba": "image"},
    )  # fmt: skip
    config = dataclasses.replace(line_config(UnpairedTask(pool=0), "hinge"), train=SHORT)
    started = start_of_lines(config, nets, unpaired_task, batch(), monkeypatch, CHAIN)
    check_chain("/scale", nets, *fitted(*started))


CHAIN = ChainConfig(
    methods=(FreezeDConfig(blocks=1), EWCConfig(samples=BATCH, strength=1e3), L2SPConfig(strength=0.1)),
)  # fmt: skip


def check_chain(name, nets, before, after, row, state):
    """Freeze-D freezes D next to the image; EWC and L2-SP have terms of 0 at the start, and above 0 after a step."""
    frozen = tuple(f"{d}/params/{block}/" for d in nets.discriminators for block in nets.d_blocks[:2])
    kernels = [path for path in before if "/params/" in path and path.endswith(name)]
    still = [path for path in kernels if (after[path] == before[path]).all()]
    assert still and still == [path for path in kernels if path.startswith(frozen)]
    alone = len(nets.generators) == 1
    for network in nets.generators:
        assert row["ewc" if alone else f"ewc_{network}"] > 0 and row[f"l2_sp_{network}"] > 0
        kept = state.constants["ewc"] if alone else state.constants["ewc"][network]
        fisher = values(kept["fisher"])
        assert all(np.isfinite(x).all() and (x >= 0).all() for x in fisher.values())
        assert sum(x.sum() for x in fisher.values()) > 0
    for network in nets.discriminators:
        assert row[f"l2_sp_{network}"] > 0


ROWS = [(name, adapted) for name in TASKS for adapted in (False, True)]


@pytest.mark.parametrize("name, d_adapted", default_rows(ROWS, [("paired", False), ("paired", True)]))
def test_lora_trains_additions_alone(name, d_adapted):
    nets, before, after, _, _ = trained(name, LoRAConfig(rank=1, d_adapted=d_adapted))
    adapted = (*nets.generators, *(nets.discriminators if d_adapted else ()))
    moved = {path for path, leaf in before.items() if "/params/" in path and (after[path] != leaf).any()}
    for path in before:
        network, _, rest = path.partition("/params/")
        if rest and network in adapted:
            head = network in nets.discriminators and rest.split("/")[0] in nets.d_head
            assert (path in moved) == ("adapter/" in rest or head), path
    assert {path.split("/")[0] for path in moved} == set(nets.nets)


def test_methods_that_need_a_pair_or_latents_say_so():
    with pytest.raises(ConfigError, match="kml is a method for one generator g and one discriminator d.*g_ab"):
        make_method(KMLConfig(), networks_of(config_of("unpaired")))
    config = dataclasses.replace(config_of("paired"), transfer=BSAConfig())
    with pytest.raises(
        ConfigError, match="the method bsa needs latents, which generators of the task paired do not have"
    ):
        config.validate()


def test_regularisers_that_a_task_cannot_have_are_refused():
    for name, loss, message in (
        ("unpaired", LossConfig("hinge", r1_gamma=1.0), "penalty, which this task cannot have"),
        ("paired", LossConfig("hinge", zcr_d=1.0), "zcr_d, which this task cannot have"),
    ):
        with pytest.raises(ConfigError, match=message):
            begin(config_of(name, loss=loss))
