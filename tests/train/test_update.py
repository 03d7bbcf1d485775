"""One update of one network, with plain gradient descent on few numbers: how far it goes, and for what."""

from __future__ import annotations

import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan_jax.config import Config, OptimConfig
from gan_jax.train.context import LossOutput
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Regulariser
from gan_jax.train.step import everything, make_update
from gan_jax.train.task import Phase, Task

CONFIG = Config(optim=OptimConfig(lr=0.1, d_lr=0.4))
LAZY = Regulariser("pull", "d", lambda ctx: (2 * ctx.d["params"]["w"].sum(), {}), interval=lambda loss: 3)


class Stub(types.SimpleNamespace):
    """What an update asks of a context."""

    nets: Any
    d = property(lambda self: self.nets["d"])

    def with_nets(self, **nets):
        return Stub(**{**vars(self), "nets": {**self.nets, **nets}})


def updated(network, params, terms=(), done=0, sync=lambda tree: tree):
    """`(trained leaves, metrics)` after an update of a loss that is the sum of w."""
    variables = {"params": {name: jnp.asarray(value) for name, value in params.items()}}
    nets = {"g": variables, "d": variables}
    ctx: Any = Stub(nets=nets, update_count=jnp.int32(done), extras={}, annealed=lambda name, start: start)
    opt = optax.identity().init(variables["params"])
    state: Any = types.SimpleNamespace(nets=nets, opt={"g": opt, "d": opt}, images=jnp.int32(0), extras={})
    loss = lambda ctx: LossOutput(ctx.nets[network]["params"]["w"].sum(), ctx, {}, {})
    phase = Phase(network, (network,), loss, lr=CONFIG.optim.d_lr if network == "d" else None)
    task = Task(nets={}, phases=(phase,))
    make = lambda *_: optax.identity()
    extension = Extension(regularisers=terms)
    new = make_update(CONFIG, task, phase, everything, sync, extension, make)(state, ctx)
    return new.nets[network]["params"], new.metrics


@pytest.mark.parametrize(("network", "size"), [("g", 0.1), ("d", 0.4)])
def test_each_network_has_its_step_size(network, size):
    params, _ = updated(network, {"w": [1.0, 2.0]})
    np.testing.assert_allclose(params["w"], [1 - size, 2 - size], rtol=1e-6)


@pytest.mark.parametrize(("done", "lazily"), [(0, 3 * 2.0), (1, 0.0), (2, 0.0), (3, 3 * 2.0)])
def test_a_lazy_penalty_comes_every_third_time_and_counts_three_times(done, lazily):
    """A slope of 1 from the loss, one of 2 from the penalty; with 4 updates in 3 steps, each is 3/4 as long."""
    params, _ = updated("d", {"w": [1.0]}, (LAZY,), done)
    np.testing.assert_allclose(params["w"], [1 - 0.4 * 0.75 * (1 + lazily)], rtol=1e-6)


def test_all_gradients_are_averaged_over_devices():
    half = lambda tree: jax.tree_util.tree_map(lambda x: x / 2, tree)
    params, _ = updated("d", {"w": [1.0]}, (LAZY,), 0, half)
    np.testing.assert_allclose(params["w"], [1 - 0.4 * 0.75 * (1 + 3 * 2) / 2], rtol=1e-6)


def test_a_leaf_is_finite_where_its_value_is_too():
    _, metrics = updated("g", {"v": [np.inf], "w": [1.0]})
    assert metrics["finite"].tolist() == [False, True]
