"""Narrowing by importance undoes widening; it chooses the same channels in every leaf of a group."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from gan_jax.surgery import PlanError, make_plan, pair_rules, transplant, transplant_state
from gan_jax.surgery.families import layouts
from gan_jax.surgery.ops import width
from gan_jax.surgery.ops.basic import OpError
from gan_jax.surgery.ops.width import importance, important_shape
from gan_jax.trees import flatten, specs
from tests.surgery.pairs import BASE, SMALL_DCGAN, compare, grow, make_pair
from tests.surgery.test_growth import exact
from tests.surgery.test_layout import permute

STRONGEST = {"narrow": "strongest"}


@pytest.mark.parametrize("base", [BASE, SMALL_DCGAN], ids=["resnet", "dcgan"])
def test_widening_is_undone_wherever_the_new_channels_lie(base):
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, base)
        new, fresh = make_pair(1, base, channel_max=9)
        grown = grow(old, old_variables, new, fresh)
        layout = layouts(new.config)
        mixed = {name: permute(layout[name], grown[name], 7) for name in ("g", "d")}
        fresh = make_pair(2, base)[1]
        exact(old, old_variables, old, grow(new, mixed, old, fresh, STRONGEST))
        worse = compare(old, old_variables, old, grow(new, mixed, old, fresh), False)
        assert worse["g"].largest > 1e-3 and worse["d"].largest > 1e-3, "the leading channels are others now"


def test_importance_follows_what_is_heard():
    """Two layers: a channel that only a silent one reads counts nothing, whatever its own norms are."""
    first, second = np.array([[3.0, 9.0, 1.0]]), np.array([[1.0, 0.0], [0.0, 5.0], [0.5, 0.0]])
    head = np.array([[2.0], [0.0]])
    found = importance([first, second, head], ["rgb -> a", "a -> b", "b -> logit"], 2)
    np.testing.assert_allclose(found["b"], [1, 0])
    np.testing.assert_allclose(found["a"], np.array([3, 0, 0.5]) / 3.5)
    with pytest.raises(OpError, match="no output reads 'a'"):
        importance([second], ["a -> b"], 2)
    with pytest.raises(OpError, match="keep 4 of the 3 channels"):
        important_shape([(1, 3)], {"layout": [None], "axes": [{"axis": 1, "keep": 4, "group": "a"}]})


def test_trained_like_nets_keep_the_same_channels_everywhere_and_the_plan_goes_through_json():
    old, old_variables = make_pair(0)
    new, fresh = make_pair(1, channel_max=4)
    target, source = specs(fresh), specs(old_variables)
    plan = make_plan(
        target, source, pair_rules(new.config, old.config, target, source, narrow="strongest"), shape="adapt"
    )
    shrunk, _ = transplant(type(plan).from_json(plan.to_json()), old_variables, fresh)
    for name in ("g", "d"):
        layout, flat = layouts(old.config)[name], flatten(old_variables[name])
        params = {p: np.asarray(x) for p, x in flat.items() if p.startswith("params/")}
        texts = {p: layout.text[p] for p in params if any(axis.group for axis in layout.leaf(p).axes)}
        scores = importance([params[p] for p in texts], list(texts.values()), len(layout.groups))
        kept = {group: np.sort(np.argsort(-value, kind="stable")[:4]) for group, value in scores.items()}
        assert any(list(index) != [0, 1, 2, 3] for index in kept.values())
        for path, x in params.items():
            leaf = layout.leaf(path)
            expected = x.reshape(leaf.view(x.shape))
            for i, axis in enumerate(leaf.axes):
                expected = expected if axis.group is None else expected.take(kept[axis.group], axis=i)
            np.testing.assert_array_equal(np.ravel(flatten(shrunk[name])[path]), expected.ravel())


def test_the_moving_average_and_the_moments_keep_what_their_network_keeps():
    old, variables = make_pair(0)
    new, fresh = make_pair(1, channel_max=4)
    rng = np.random.default_rng(0)
    other = lambda tree: jax.tree.map(lambda x: (10 * rng.standard_normal(x.shape)).astype(np.float32), tree)
    state = lambda v: {**v, "g_ema": other(v["g"]), "opt_g": {"mu": other(v["g"]["params"])}}
    source, target = state(variables), state(fresh)
    rules = pair_rules(new.config, old.config, fresh, variables, narrow="strongest")
    made, _, whole = transplant_state(make_plan(fresh, variables, rules, shape="adapt"), source, target)
    assert any(note.startswith("opt_g: moments of") and "reset" not in note.split(",")[0] for note in whole.notes)
    bias = lambda tree: np.asarray(tree["b8"]["conv0"]["bias"])
    kept = np.flatnonzero(np.isin(bias(variables["g"]["params"]), bias(made["g"]["params"])))
    assert len(kept) == 4
    np.testing.assert_array_equal(bias(made["g_ema"]["params"]), bias(source["g_ema"]["params"])[kept])
    np.testing.assert_array_equal(bias(made["opt_g"]["mu"]), bias(source["opt_g"]["mu"])[kept])


def test_importance_is_worked_out_once_for_each_network(monkeypatch):
    """Narrowing asks for it at every leaf: it is of the same arrays, until they are others."""
    old, variables = make_pair(0)
    new, fresh = make_pair(1, channel_max=4)
    asked = []
    monkeypatch.setattr(width, "importance", lambda arrays, *rest: asked.append(arrays[0]) or importance(arrays, *rest))
    state = {**variables, "g_ema": jax.tree.map(lambda x: 2 * x, variables["g"])}
    kept = grow(old, state, new, {**fresh, "g_ema": fresh["g"]}, STRONGEST)
    assert len(asked) == 3
    grow(old, {**variables, "g": jax.tree.map(np.asarray, variables["g"])}, new, fresh, STRONGEST)
    assert len(asked) == 5, "nothing is remembered from one transplant to the next"
    bias = lambda name: np.asarray(kept[name]["params"]["b8"]["conv0"]["bias"])
    np.testing.assert_array_equal(bias("g_ema"), 2 * bias("g"))


def test_one_thing_after_the_other():
    old, old_variables = make_pair(0)
    new, fresh = make_pair(1, channel_max=4, resolution=32)
    with pytest.raises(PlanError, match="narrow it first, then change the resolution, in two plans"):
        grow(old, old_variables, new, fresh, STRONGEST)


def test_fewer_blocks_are_the_way_back_from_more():
    with jax.enable_x64(True):
        old, old_variables = make_pair(0)
        new, fresh = make_pair(1, resolution=32)
        grown = grow(old, old_variables, new, fresh)
        back = grow(new, grown, old, make_pair(2)[1], unused="drop")
        exact(old, old_variables, old, back)
