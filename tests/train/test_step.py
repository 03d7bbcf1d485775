"""The one step body: the same under every compiler, nothing happens to frozen leaves, D warms up alone."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax.config import EMAConfig, LossConfig
from gan_jax.train.step import LARGE, _finite
from gan_jax.trees import match
from tests.lanes import default_rows
from tests.train.games import (
    assert_parity,
    dispatch,
    dispatches,
    host,
    make_config,
    make_program,
    make_state,
    make_trainer,
    members,
)
from tests.train.toy import build_toy


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    monkeypatch.setattr("gan_jax.nets.resnet.make", build_toy)


GAMES = {
    "hinge": make_config(),
    "non_saturating+r1+diffaugment": make_config(
        LossConfig("non_saturating", r1_gamma=2.0), ("color", "translation", "cutout")
    ),
    "relativistic+r1+r2": make_config(LossConfig("relativistic", r1_gamma=1.0, r2_gamma=3.0)),
    "wasserstein+gp, 2 d_steps": make_config(LossConfig("wasserstein", gp_lambda=10.0), d_steps=2),
    "lazy r1, conditional": make_config(LossConfig("hinge", r1_gamma=5.0, penalty_interval=2), (), 3),
    "least_squares, conditional": make_config(LossConfig("least_squares"), ("translation",), 3),
}


@pytest.mark.parametrize("name", default_rows(GAMES, ["lazy r1, conditional"]))
def test_every_compiler_computes_the_same_gradients(name):
    runs = [("jit", 2), ("jit", 8), ("pmap", 8)] if name == "hinge" else [("jit", 8)]
    assert_parity(GAMES[name], runs)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 1])
def test_a_population_of_seeds_is_its_members(devices):
    trainer = make_trainer(make_config(steps_per_dispatch=2))
    states = [make_state(trainer, seed=seed) for seed in range(4)]
    program = make_program(trainer, "population", devices)
    data = program.put_data(members(*[trainer.feed.resident] * 4))
    together, metrics = program.run(program.put(members(*states)), data)
    assert metrics["finite"].shape[:2] == (4, 2)
    together = host(program.get(together))
    for i, state in enumerate(states):
        alone, rows = dispatch(trainer, state)
        for path, value in alone.items():
            assert_allclose(together[path][i], value, rtol=2e-4, atol=2e-6, err_msg=path)
        assert_allclose(metrics["loss_d"][i], rows["loss_d"], rtol=1e-4)


# -- frozen leaves -------------------------------------------------------------------------------------------


def freeze(*patterns):
    return lambda net: lambda path: not any(match(p, f"{net}/params/{path}") for p in patterns)


PATTERNS = ("d/params/from_rgb/**",), ("d/params/{from_rgb,b4}/kernel", "g/params/stem/*")
FROZEN = [(compiler, patterns) for compiler in ("jit", "pmap") for patterns in PATTERNS]


@pytest.mark.parametrize("compiler, patterns", default_rows(FROZEN, [("jit", PATTERNS[1])]))
def test_frozen_means_frozen(compiler, patterns):
    trainer = make_trainer(make_config(LossConfig("non_saturating"), steps_per_dispatch=2), trains=freeze(*patterns))
    state = make_state(trainer)
    before = host(state)
    after, _ = dispatch(trainer, state, compiler, 2, times=2)
    frozen = [path for path in before if any(match(p, path) for p in patterns)]
    assert len(frozen) >= 2
    for path in frozen:
        assert after[path].tobytes() == before[path].tobytes(), path
        if path.startswith("g/"):
            ema = path.replace("g/", "g_ema/", 1)
            assert after[ema].tobytes() == before[ema].tobytes(), ema
        moments = [p for p in after if p.startswith(f"opt_{path[0]}/") and p.endswith(path.split("/", 2)[2])]
        assert moments == []
    trained = [p for p in before if p[1:9] == "/params/" and p not in frozen]
    # Biases whose gradient cancels (under the hinge loss, before batch norm) may stay.
    assert np.mean([(after[p] != before[p]).any() for p in trained]) > 0.5
    assert trainer.guard_names(state, ("d", "g")) == sorted(p for p in trained if p[0] == "d") + sorted(
        p for p in trained if p[0] == "g"
    )


# -- D alone -------------------------------------------------------------------------------------------------


def test_g_is_untouched_to_the_bit_while_d_warms_up():
    trainer = make_trainer(make_config(steps_per_dispatch=2))
    state = make_state(trainer)
    before = host(state)
    after, metrics = dispatch(trainer, state, "jit", 2, times=2, phases=("d",))
    for path in before:
        same = after[path].tobytes() == before[path].tobytes()
        if path.split("/")[0] in ("g", "g_ema", "opt_g", "key"):
            assert same, path
        elif path.startswith("d/params/") and path.endswith("kernel"):  # the hinge's two sides cancel in D's last bias
            assert not same, path
    assert after["step"] == 4 and after["images"] == 32
    assert "loss_g" not in metrics


@pytest.mark.slow
def test_lazy_penalties_come_in_every_kth_update():
    trainer = make_trainer(make_config(LossConfig(r1_gamma=5.0, penalty_interval=3)))
    rows = itertools.islice(dispatches(trainer, make_state(trainer)), 6)
    assert [float(metrics["penalty"]) > 0 for _, metrics in rows] == [True, False, False] * 2


def test_the_average_counts_all_images_of_a_step_and_so_do_counters():
    """A half-life of three batches, and three updates of D in a step: half of the way."""
    config = dataclasses.replace(make_config(d_steps=3), ema=EMAConfig(half_life_kimg=0.024, rampup=None))
    trainer = make_trainer(config)
    state = make_state(trainer)
    before = host(state)
    (after, _), (later, _) = itertools.islice(dispatches(trainer, state), 2)
    assert later["step"] == 2 and later["images"] == 8 * 3 * 2
    assert later["opt_d/count"] == 6 and later["opt_g/count"] == 2
    paths = [path for path in before if path.startswith("g/params/")]
    assert any((after[path] != before[path]).any() for path in paths)
    for path in paths:
        halfway = (before[path] + after[path]) / 2
        assert_allclose(after[f"g_ema{path[1:]}"], halfway, rtol=1e-5, atol=1e-7, err_msg=path)


@pytest.mark.parametrize("size", [4, LARGE])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_flags_of_finite_leaves(size, value):
    """One value of the gradient, or of the new leaf, is enough, in small leaves and in large ones."""
    ones = np.ones(size, np.float32)
    bad = ones.copy()
    bad[-1] = value
    grads, params = {"a": ones, "b": bad, "c": ones}, {"a": 3e38 * ones, "b": ones, "c": bad}
    assert jax.jit(_finite)(grads, params).tolist() == [True, False, False]
