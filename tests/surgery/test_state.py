"""Whole states: the moving average and Adam's moments follow their parameters; what cannot is reset and said so."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan_jax.surgery import Move, make_plan, pair_rules, transplant_state
from gan_jax.train.state import GanState
from gan_jax.trees import Rule, flatten, specs
from tests.surgery.pairs import BASE, make_pair

ADAM = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))


def make_state(seed, steps, **changes):
    """A state after so many steps, with drawn moments."""
    _, variables = make_pair(seed, **changes)
    rng = np.random.default_rng(seed)

    def drawn(x):
        filled = rng.uniform(1, 2, x.shape) if jnp.issubdtype(x.dtype, jnp.floating) else np.full(x.shape, steps)
        return jnp.asarray(filled, x.dtype)

    opt = {name: jax.tree.map(drawn, ADAM.init(variables[name]["params"])) for name in ("g", "d")}
    return GanState(
        step=jnp.int32(steps),
        images=jnp.int32(8 * steps),
        **variables,
        g_ema=jax.tree.map(drawn, variables["g"]),
        opt_g=opt["g"],
        opt_d=opt["d"],
        extras={"ada_p": jnp.float32(0.5)},
        key=jax.random.key(seed),
    )


def networks(state):
    return {"g": state.g, "d": state.d}


@pytest.fixture
def old():
    return make_state(0, 3)


def test_the_same_pair_moves_whole(old):
    target = make_state(1, 0)
    plan = make_plan(specs(networks(target)), specs(networks(old)))
    state, report, whole = transplant_state(plan, old, target)
    assert report.follows(whole) and isinstance(state, GanState)
    for name in ("g", "d", "g_ema", "opt_g", "opt_d"):
        jax.tree.map(np.testing.assert_array_equal, getattr(state, name), getattr(old, name))
    assert (
        state.step == 0
        and state.images == 0
        and (jax.random.key_data(state.key) == jax.random.key_data(target.key)).all()
    )
    count = len(jax.tree.leaves(old.g["params"]))
    assert f"opt_g: moments of {2 * count} of {2 * count} leaves moved, update count kept" in whole.notes
    assert {"step: kept from the target, not moved", "key: kept from the target, not moved"} <= set(whole.notes)


def test_growth_moves_moments_by_the_same_indices_and_zeros_the_new(old):
    target = make_state(1, 1, channel_max=9, channels=3)
    names = networks(target), networks(old)
    rules = pair_rules(dataclasses.replace(BASE, channel_max=9, channels=3), BASE, *names)
    plan = make_plan(*map(specs, names), rules, shape="adapt")
    state, _, whole = transplant_state(plan, old, target)
    before, after = flatten(old), flatten(state)
    for moment in ("mu", "nu"):
        kernel = after[f"opt_d/1/0/{moment}/b8/conv0/kernel"]
        np.testing.assert_array_equal(kernel[:, :, :6, :6], before[f"opt_d/1/0/{moment}/b8/conv0/kernel"])
        np.testing.assert_array_equal(kernel[:, :, 6:], 0)
        np.testing.assert_array_equal(kernel[..., 6:], 0)
        assert np.abs(before[f"opt_d/1/0/{moment}/from_rgb/kernel"]).min() > 0
        np.testing.assert_array_equal(  # its values are computed, not moved: the target's fresh moments
            after[f"opt_d/1/0/{moment}/from_rgb/kernel"], flatten(target)[f"opt_d/1/0/{moment}/from_rgb/kernel"]
        )
        stem = after[f"opt_g/1/0/{moment}/stem/kernel"].reshape(8, 4, 4, 9)
        np.testing.assert_array_equal(stem[..., :6].reshape(8, -1), before[f"opt_g/1/0/{moment}/stem/kernel"])
    assert after["opt_g/1/0/count"] == 1, "the target's: not every value came along"
    assert any(note.startswith("opt_d:") and note.endswith("2 reset, update count reset") for note in whole.notes)
    np.testing.assert_array_equal(
        state.g_ema["params"]["b8"]["conv0"]["bias"][:6], old.g_ema["params"]["b8"]["conv0"]["bias"]
    )
    np.testing.assert_array_equal(
        state.g_ema["params"]["b8"]["conv0"]["bias"][6:], target.g_ema["params"]["b8"]["conv0"]["bias"][6:]
    )


def test_without_a_source_there_are_no_moments_to_move(old):
    target = make_state(1, 0)
    weights = {"g": old.g_ema, "d": old.d}  # a shared file: no optimiser, no second copy of G
    plan = make_plan(specs(networks(target)), specs(weights))
    state, _, whole = transplant_state(plan, weights, target)
    jax.tree.map(np.testing.assert_array_equal, state.g_ema, old.g_ema)
    jax.tree.map(np.testing.assert_array_equal, state.opt_g, target.opt_g)
    assert any(
        note.startswith("opt_g: moments of 0 of") and note.endswith("update count reset") for note in whole.notes
    )


def test_renamed_leaves_take_their_moments_with_them():
    source = {
        "g": {"params": {"old": {"w": np.ones(3, np.float32)}}},
        "opt_g": {"mu": {"old": {"w": np.full(3, 2, np.float32)}}},
    }
    target = {
        "g": {"params": {"new": {"w": np.zeros(3, np.float32)}}},
        "opt_g": {"mu": {"new": {"w": np.zeros(3, np.float32)}}},
    }
    plan = make_plan({"g": target["g"]}, {"g": source["g"]}, [Rule("**", Move(sources=("g/params/old/w",)))])
    state, _, _ = transplant_state(plan, source, target)
    np.testing.assert_array_equal(state["opt_g"]["mu"]["new"]["w"], 2)
