"""One update of one network, with plain gradient descent on few numbers: how far it goes, and for what."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan_jax.config import Config, OptimConfig
from gan_jax.train import update
from gan_jax.train.regularisers import Regulariser

CONFIG = Config(optim=OptimConfig(lr=0.1, d_lr=0.4))
LAZY = Regulariser("pull", "d", lambda turn: (2 * turn.d["params"]["w"].sum(), {}), interval=lambda loss: 3)


@dataclasses.dataclass(frozen=True)
class Stub:
    """What an update asks of a turn."""

    g: Any
    d: Any
    done: Any
    extras: Any = dataclasses.field(default_factory=dict)
    now: Callable[[str, float], float] = lambda name, start: start


@pytest.fixture(autouse=True)
def _plain_descent(monkeypatch):
    monkeypatch.setattr(update, "make_adam", lambda *_: optax.identity())


def updated(network, params, terms=(), done=0, sync=lambda tree: tree):
    """The update of a game that pays the sum of w."""
    variables = {"params": {name: jnp.asarray(value) for name, value in params.items()}}
    stub = Stub(variables, variables, jnp.int32(done))
    state = types.SimpleNamespace(g=variables, d=variables, opt_g=(), opt_d=(), images=jnp.int32(0), extras={})
    state.opt_g = state.opt_d = optax.identity().init(variables["params"])
    play = lambda turn: update.Played(getattr(turn, network)["params"]["w"].sum(), turn, {}, {})
    return update.make_update(CONFIG, network, lambda path: True, sync, terms)(state, stub, play)


@pytest.mark.parametrize(("network", "size"), [("g", 0.1), ("d", 0.4)])
def test_each_network_has_its_step_size(network, size):
    found = updated(network, {"w": [1.0, 2.0]})
    np.testing.assert_allclose(found.trained["w"], [1 - size, 2 - size], rtol=1e-6)


@pytest.mark.parametrize(("done", "lazily"), [(0, 3 * 2.0), (1, 0.0), (2, 0.0), (3, 3 * 2.0)])
def test_a_lazy_penalty_comes_every_third_time_and_counts_three_times(done, lazily):
    """A slope of 1 from the game, one of 2 from the penalty; with 4 updates in 3 steps, each is 3/4 as long."""
    found = updated("d", {"w": [1.0]}, (LAZY,), done)
    np.testing.assert_allclose(found.trained["w"], [1 - 0.4 * 0.75 * (1 + lazily)], rtol=1e-6)


def test_all_gradients_are_averaged_over_devices():
    half = lambda tree: jax.tree_util.tree_map(lambda x: x / 2, tree)
    found = updated("d", {"w": [1.0]}, (LAZY,), 0, half)
    np.testing.assert_allclose(found.trained["w"], [1 - 0.4 * 0.75 * (1 + 3 * 2) / 2], rtol=1e-6)


def test_a_leaf_is_finite_where_its_value_is_too():
    found = updated("g", {"v": [np.inf], "w": [1.0]})
    assert found.metrics["finite"].tolist() == [False, True]
