"""Execution: what the plan says and nothing else, on random trees; renames and their inverse; sharding; reading."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gan_jax.surgery import Action, Plan, PlanError, make_plan, transplant
from gan_jax.trees import Rule, digest, flatten, specs, unflatten

names = st.text("abcxyz", min_size=1, max_size=3)
dtypes = st.sampled_from(["float32", "bfloat16", "int32"])
shapes = st.lists(st.integers(1, 4), max_size=3).map(tuple)
quick = settings(max_examples=40, deadline=None)


@st.composite
def trees(draw):
    """Nested dicts of drawn shapes and dtypes, in which no leaf lies under another."""
    paths = draw(st.lists(st.lists(names, min_size=1, max_size=3).map("/".join), min_size=1, max_size=6, unique=True))
    paths = [p for p in paths if not any(q.startswith(p + "/") for q in paths)]
    seed = draw(st.integers(0, 1000))
    rng = np.random.default_rng(seed)
    leaf = lambda: (10 * rng.standard_normal(draw(shapes))).astype(jnp.dtype(draw(dtypes)))
    return unflatten({path: np.asarray(leaf()) for path in paths})


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)
    assert specs(a) == specs(b)


blank = lambda tree: jax.tree.map(lambda x: np.full(x.shape, 7.0).astype(x.dtype), tree)


@quick
@given(trees())
def test_the_identity_plan_is_the_identity(tree):
    plan = make_plan(specs(tree), specs(tree))
    out, report = transplant(plan, tree, blank(tree))
    equal(out, tree)
    assert report.follows(plan) and plan.totals["copied"] == sum(x.size for x in flatten(tree).values())


@quick
@given(trees(), st.data())
def test_the_report_is_what_happened(tree, data):
    """Random operations; every digest and every fresh leaf is checked against the arrays."""
    move = lambda path, x: data.draw(st.sampled_from([Action(), Action("init"), Action("zero"), Action("pad")]), path)
    moves = {path: move(path, x) for path, x in flatten(tree).items()}
    plan = make_plan(tree, tree, [Rule("re:" + path, m) for path, m in moves.items()], unused="drop")
    fresh = blank(tree)
    out, report = transplant(Plan.from_json(plan.to_json()), tree, fresh)
    assert report.follows(plan) and [row.target for row in report.rows] == list(flatten(tree))
    for row in report.rows:
        path, value = row.target, flatten(out)[row.target]
        assert row.digest == digest(value)
        if moves[path].op in ("copy", "pad"):
            np.testing.assert_array_equal(value, flatten(tree)[path])
            assert row.sources == {path: digest(flatten(tree)[path])}
        else:
            np.testing.assert_array_equal(value, flatten(fresh)[path] * (moves[path].op == "init"))
            assert row.sources == {}
    assert set(plan.unused) == {path for path, m in moves.items() if m.op in ("init", "zero")}
    changed = dataclasses.replace(report, rows=report.rows[1:])
    assert not changed.follows(plan)


@quick
@given(trees())
def test_a_rename_and_its_inverse(tree):
    there = make_plan({"new": tree}, {"old": tree}, [Rule("re:new/(.*)", Action(sources=(r"old/\1",)))])
    back = make_plan({"old": tree}, {"new": tree}, [Rule("re:old/(.*)", Action(sources=(r"new/\1",)))])
    out, _ = transplant(there, {"old": tree}, {"new": blank(tree)})
    out, _ = transplant(back, out, {"old": blank(tree)})
    equal(out, {"old": tree})


@quick
@given(trees(), st.integers(1, 3))
def test_widening_and_slicing_back_is_the_identity(tree, more):
    larger = jax.tree.map(lambda x: np.zeros([n + more for n in x.shape], x.dtype), tree)
    wide, _ = transplant(make_plan(larger, tree, shape="adapt"), tree, larger)
    back, _ = transplant(make_plan(tree, wide, shape="adapt"), wide, blank(tree))
    equal(back, tree)


@quick
@given(trees())
def test_json_round_trip(tree):
    larger = jax.tree.map(lambda x: np.zeros([n + 1 for n in x.shape], x.dtype), tree)
    plan = make_plan(larger, tree, shape="adapt", notes=["n"])
    assert Plan.from_json(plan.to_json()) == plan


A = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": {"c": np.ones(2, np.float32)}}


def test_stale_plans_are_refused():
    plan = make_plan(A, A)
    with pytest.raises(PlanError, match=r"source leaf 'b/c' is float32\[3\], but the plan says \[2\]"):
        transplant(plan, {**A, "b": {"c": np.ones(3, np.float32)}}, A)
    with pytest.raises(PlanError, match=r"target leaf 'b/c' is int32\[2\], but the plan says float32\[2\]"):
        transplant(plan, A, {**A, "b": {"c": np.ones(2, np.int32)}})
    with pytest.raises(PlanError, match=r"the result for 'b/c' is int32\[2\], but the plan says float32\[2\]"):
        transplant(plan, {**A, "b": {"c": np.ones(2, np.int32)}}, A)
    with pytest.raises(PlanError, match=r"the plan has no target leaf 'b/cc' \(did you mean 'b/c'"):
        transplant(plan, A, {**A, "b": {"c": A["b"]["c"], "cc": A["a"]}})
    with pytest.raises(PlanError, match="the plan's leaf 'b/c' is not in the target"):
        transplant(plan, A, {"a": A["a"]})
    with pytest.raises(PlanError, match="the plan reads 'b/c', which the source lacks"):
        transplant(plan, {"a": A["a"]}, A)
    with pytest.raises(PlanError, match="names a target leaf twice"):
        transplant(Plan(plan.entries * 2), A, A)


def test_a_reader_is_asked_for_what_the_plan_needs_only():
    asked = []

    def read(path):
        asked.append(path)
        return flatten(A)[path]

    plan = make_plan(A, A, [Rule("a", Action()), Rule("**", Action("init"))], unused="drop")
    transplant(plan, read, blank(A))
    assert asked == ["a"] == list(plan.needed)


@pytest.mark.parametrize("kind", [np.array, jnp.array])
@pytest.mark.parametrize("rule", [Action(), Action("init")])
def test_the_result_shares_no_memory_with_source_or_target(kind, rule):
    fresh, source = jax.tree.map(kind, blank(A)), jax.tree.map(np.array, A)
    out, _ = transplant(make_plan(A, A, [Rule("**", rule)], unused="drop"), source, fresh)
    kept = jax.tree.map(np.array, out)
    source["a"][:] = -1
    if kind is np.array:
        out["a"][:] = -1
        np.testing.assert_array_equal(fresh["a"], 7)
    else:
        jax.tree.map(np.testing.assert_array_equal, out, kept)
        assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(out))


def test_sharded_leaves_stay_sharded():
    mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))
    source = {"w": jax.device_put(jnp.arange(32.0).reshape(8, 4), rows)}
    fresh = {"w": jax.device_put(jnp.full((16, 4), 7.0), rows)}
    out, _ = transplant(make_plan(fresh, source, shape="adapt"), source, fresh)
    assert out["w"].sharding == rows
    same, _ = transplant(make_plan(source, source), source, source)
    jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)(same)
    assert same["w"].is_deleted() and not source["w"].is_deleted()
    np.testing.assert_array_equal(out["w"], np.concatenate([np.arange(32.0).reshape(8, 4), np.full((8, 4), 7.0)]))


def test_the_report_prints():
    _, report = transplant(make_plan(A, A), A, blank(A))
    assert str(report).splitlines()[2].split() == ["a", "copy", f"a@{digest(A['a'])[:8]}", digest(A["a"])[:8]]
