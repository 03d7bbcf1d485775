"""Methods of transfer on every task of images from images: which leaves they train, and the terms that they add."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

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
    PreserveConfig,
    TrainConfig,
    UnpairedTask,
)
from gan_jax.tasks import networks_of
from gan_jax.tasks.unpaired import unpaired_task
from gan_jax.train.fit import Hooks
from gan_jax.transfer.methods import make_method
from gan_jax.transfer.methods.preserve import preserved
from gan_jax.transfer.weights import fresh_variables
from tests.lanes import default_rows
from tests.tasks.lines import Stack, batch, unpaired_nets
from tests.tasks.lines import begin as start_of_lines
from tests.tasks.lines import config_of as line_config
from tests.tasks.translating import BATCH, SIZE, TASKS, begin, config_of, values

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
    methods=(
        FreezeDConfig(blocks=1), EWCConfig(samples=BATCH, strength=1e3), L2SPConfig(strength=0.1),
        PreserveConfig(give_way=False),
    ),
)  # fmt: skip


def check_chain(name, nets, before, after, row, state):
    """Freeze-D freezes D next to the image; EWC, L2-SP and preservation have terms of 0 at the start, then above 0."""
    frozen = tuple(f"{d}/params/{block}/" for d in nets.discriminators for block in nets.d_blocks[:2])
    kernels = [path for path in before if "/params/" in path and path.endswith(name)]
    still = [path for path in kernels if (after[path] == before[path]).all()]
    assert still and still == [path for path in kernels if path.startswith(frozen)]
    alone = len(nets.generators) == 1
    for network in nets.generators:
        assert row["ewc" if alone else f"ewc_{network}"] > 0 and row[f"l2_sp_{network}"] > 0
        assert row["preserved" if alone else f"preserved_{network}"] > 0
        kept = state.constants["ewc"] if alone else state.constants["ewc"][network]
        fisher = values(kept["fisher"])
        assert all(np.isfinite(x).all() and (x >= 0).all() for x in fisher.values())
        assert sum(x.sum() for x in fisher.values()) > 0
    for network in nets.discriminators:
        assert row[f"l2_sp_{network}"] > 0


def test_each_direction_is_held_to_what_it_made_of_what_it_reads():
    """The term by hand: strength times the mean difference of two sets of variables on the images of the domain."""
    nets = networks_of(config_of("unpaired"))
    now, start = (fresh_variables(nets, seed) for seed in (1, 2))
    rng = np.random.default_rng(4)
    batch = {name: jnp.asarray(rng.uniform(-1, 1, (2, SIZE, SIZE, 3)), jnp.float32) for name in ("input", "image")}
    # all that the terms read of a context
    ctx: Any = SimpleNamespace(
        nets=now, task=SimpleNamespace(nets=nets.nets), batch=batch, constants={"fused": start},
        step_keys=lambda purpose: jax.random.split(jax.random.key(0), 2),
    )  # fmt: skip
    terms = {term.network: term.value(ctx)[0] for term in preserved(nets, 3.0, False, "fused")}
    assert set(terms) == {"g_ab", "g_ba"}
    for name, read in (("g_ab", "input"), ("g_ba", "image")):
        made = [nets.nets[name].apply(tree[name], batch[read])[0] for tree in (now, start)]
        assert_allclose(terms[name], 3 * np.abs(np.asarray(made[0] - made[1])).mean(), rtol=1e-4)


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
