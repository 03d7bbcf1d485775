"""Whole states: the moving average and Adam's moments follow their parameters; what cannot is reset and said so."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan_jax.config import Config, MLPConfig, OptimConfig, to_dict
from gan_jax.surgery import Action, make_plan, pair_rules, plan_state, transplant, transplant_state
from gan_jax.train.optim import apply_updates, make_adam
from gan_jax.train.state import GanState
from gan_jax.trees import Rule, flatten, partition, specs
from tests.surgery.pairs import BASE, QUICK, make_pair

ADAM = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))


def make_state(seed, steps, base=BASE, **changes):
    """A state after so many steps, with drawn moments."""
    _, variables = make_pair(seed, base, **changes)
    rng = np.random.default_rng(seed)

    def drawn(x):
        filled = rng.uniform(1, 2, x.shape) if jnp.issubdtype(x.dtype, jnp.floating) else np.full(x.shape, steps)
        return jnp.asarray(filled, x.dtype)

    opt = {name: jax.tree.map(drawn, ADAM.init(variables[name]["params"])) for name in ("g", "d")}
    return GanState(
        step=jnp.int32(steps),
        images=jnp.int32(8 * steps),
        nets=variables,
        ema={"g": jax.tree.map(drawn, variables["g"])},
        opt=opt,
        extras={"ada_p": jnp.float32(0.5)},
        key=jax.random.key(seed),
    )


def trained(state):
    """What of a state a plan moves."""
    return state.nets, state.ema, state.opt


@pytest.fixture
def old():
    return make_state(0, 3)


def test_the_same_pair_moves_whole(old):
    target = make_state(1, 0)
    plan = make_plan(specs(target.nets), specs(old.nets))
    state, report, whole = transplant_state(plan, old, target)
    assert report.follows(whole) and isinstance(state, GanState)
    jax.tree.map(np.testing.assert_array_equal, trained(state), trained(old))
    assert (
        state.step == 0
        and state.images == 0
        and (jax.random.key_data(state.key) == jax.random.key_data(target.key)).all()
    )
    count = len(jax.tree.leaves(old.nets["g"]["params"]))
    assert f"opt_g: moments of {2 * count} of {2 * count} leaves moved, update count kept" in whole.notes
    assert {"step: kept from the target, not moved", "key: kept from the target, not moved"} <= set(whole.notes)


def test_growth_moves_moments_by_the_same_indices_and_zeros_the_new(old):
    target = make_state(1, 1, channel_max=9, channels=3)
    names = target.nets, old.nets
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
        state.ema["g"]["params"]["b8"]["conv0"]["bias"][:6], old.ema["g"]["params"]["b8"]["conv0"]["bias"]
    )
    np.testing.assert_array_equal(
        state.ema["g"]["params"]["b8"]["conv0"]["bias"][6:], target.ema["g"]["params"]["b8"]["conv0"]["bias"][6:]
    )


def test_a_count_is_not_that_of_moments_that_are_new_in_part(old):
    """All leaves of a wider G are moved, and new channels have moments of zero, whose count is none."""
    target = make_state(1, 0, channel_max=9)
    names = target.nets, old.nets
    rules = pair_rules(dataclasses.replace(BASE, channel_max=9), BASE, *names)
    whole = plan_state(make_plan(*map(specs, names), rules, shape="adapt"), target, old)
    leaves = 2 * len(jax.tree.leaves(old.nets["g"]["params"]))
    assert f"opt_g: moments of {leaves} of {leaves} leaves moved, update count reset" in whole.notes


def test_without_a_source_there_are_no_moments_to_move(old):
    target = make_state(1, 0)
    weights = {"g": old.ema["g"], "d": old.nets["d"]}  # a shared file: no optimiser, no second copy of G
    plan = make_plan(specs(target.nets), specs(weights))
    state, _, whole = transplant_state(plan, weights, target)
    jax.tree.map(np.testing.assert_array_equal, state.ema["g"], old.ema["g"])
    jax.tree.map(np.testing.assert_array_equal, state.opt["g"], target.opt["g"])
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
    plan = make_plan({"g": target["g"]}, {"g": source["g"]}, [Rule("**", Action(sources=("g/params/old/w",)))])
    state, _, _ = transplant_state(plan, source, target)
    np.testing.assert_array_equal(state["opt_g"]["mu"]["new"]["w"], 2)


def library_adam(state, updates, frozen=lambda path: False, clip=1.0):
    """The library's own optimiser over the trained leaves of G, after so many updates by drawn gradients."""
    adam = make_adam(OptimConfig(b1=0.5, b2=0.9, clip_norm=clip))
    update = jax.jit(lambda *trees: apply_updates(adam, jnp.float32(1e-3), *trees), compiler_options=QUICK)
    params = partition(state.nets["g"]["params"], lambda path: not frozen(path))[0]
    opt, rng = adam.init(params), np.random.default_rng(0)
    for _ in range(updates):
        grads = jax.tree.map(lambda x: jnp.asarray(rng.standard_normal(x.shape), x.dtype), params)
        params, opt = update(grads, opt, params)
    return update, params, state.replace(opt={**state.opt, "g": opt})


def test_the_librarys_adam_goes_on_to_the_bit(old):
    """Three updates, a move into a fresh state, a fourth: as if it had not been moved."""
    update, params, source = library_adam(old, 3)
    _, _, target = library_adam(make_state(1, 0), 0)
    plan = make_plan(specs(target.nets), specs(source.nets))
    state, _, whole = transplant_state(plan, source, target)
    assert any(note.startswith("opt_g: ") and note.endswith("update count kept") for note in whole.notes)
    grads = jax.tree.map(lambda x: jnp.asarray(np.full(x.shape, 0.5), x.dtype), params)
    step = lambda opt: update(grads, opt, params)
    jax.tree.map(np.testing.assert_array_equal, step(state.opt["g"]), step(source.opt["g"]))
    moved = np.abs(
        flatten(step(state.opt["g"])[0])["b8/conv0/kernel"] - flatten(step(target.opt["g"])[0])["b8/conv0/kernel"]
    )
    assert moved.max() > 1e-5, "a fresh optimiser takes another step"


def test_frozen_leaves_have_no_moments_on_either_side(old):
    _, _, source = library_adam(old, 2)
    _, _, target = library_adam(make_state(1, 0), 0, frozen=lambda path: path.startswith("b8/"))
    plan = make_plan(specs(target.nets), specs(source.nets))
    state, _, whole = transplant_state(plan, source, target)
    after, before = flatten(state), flatten(source)
    moments = [path for path in after if path.startswith("opt_g/") and "/mu/" in path]
    assert moments and not any("/mu/b8/" in path for path in moments)
    for path in moments:
        np.testing.assert_array_equal(after[path], before[path])
    assert any(path.startswith("opt_g/") and "/mu/b8/" in path for path in whole.unused)


def test_moments_keep_the_channels_that_their_leaf_keeps():
    """The strongest channels of a leaf, not those of its moments."""
    w = np.array([[1, 5, 2, 4], [1, 5, 2, 4]], np.float32)
    mu = np.array([[9, 1, 9, 2], [9, 3, 9, 4]], np.float32)
    source = {"g": {"params": {"w": w}}, "opt_g": {"mu": {"w": mu}}}
    target = {
        "g": {"params": {"w": np.zeros((2, 2), np.float32)}},
        "opt_g": {"mu": {"w": np.zeros((2, 2), np.float32)}},
    }
    args = {"axes": [{"axis": 1, "keep": 2, "scores": [[0, 1]]}]}
    plan = make_plan({"g": target["g"]}, {"g": source["g"]}, [Rule("**", Action("strongest", args=args))])
    state, _, whole = transplant_state(plan, source, target)
    np.testing.assert_array_equal(state["g"]["params"]["w"], w[:, [1, 3]])
    np.testing.assert_array_equal(state["opt_g"]["mu"]["w"], mu[:, [1, 3]])
    assert whole.entries[1].sources == ("opt_g/mu/w", "g/params/w")


def test_leaves_put_together_take_all_their_moments():
    pair = lambda scale: {name: np.full(2, scale * n, np.float32) for n, name in enumerate("ab", 1)}
    source = {"g": {"params": pair(1)}, "opt_g": {"mu": pair(10)}}
    blank = lambda: {"ab": np.zeros(4, np.float32)}
    target = {"g": {"params": blank()}, "opt_g": {"mu": blank()}}
    move = Action("concatenate", sources=("g/params/a", "g/params/b"), args={"axis": 0})
    plan = make_plan({"g": target["g"]}, {"g": source["g"]}, [Rule("**", move)])
    state, _, whole = transplant_state(plan, source, target)
    np.testing.assert_array_equal(state["opt_g"]["mu"]["ab"], [10, 10, 20, 20])
    del source["opt_g"]["mu"]["b"]
    state, _, whole = transplant_state(plan, source, target)
    np.testing.assert_array_equal(state["opt_g"]["mu"]["ab"], 0)
    assert "opt_g: moments of 0 of 1 leaves moved, 1 reset, update count reset" in whole.notes


def test_a_whole_state_is_read_leaf_by_leaf_from_a_checkpoint(tmp_path):
    """Of a pair of few leaves: every read opens the checkpoint anew."""
    from gan_jax.train.checkpoint.manager import Checkpointer
    from gan_jax.transfer.source import open_source

    few = MLPConfig(resolution=4, channels=1, z_dim=2, g_widths=(3,), d_widths=(3,))
    old = make_state(0, 3, few)
    (tmp_path / "config.json").write_text(json.dumps({"config": to_dict(Config())}))
    with Checkpointer(tmp_path / "checkpoints") as checkpointer:
        checkpointer.save(24, old)
    source, target = open_source(tmp_path), make_state(1, 0, few)
    nets = {root: source.specs[root] for root in ("g", "d")}
    whole = plan_state(make_plan(specs(target.nets), nets), specs(target), source.specs)
    asked = []
    state, _ = transplant(whole, lambda path: asked.append(path) or source(path), target, digests=source.digests)
    assert sorted(asked) == sorted(whole.needed) and not {"step", "images", "key"} & set(asked)
    jax.tree.map(np.testing.assert_array_equal, trained(state), trained(old))
