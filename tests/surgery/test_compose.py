"""Two plans in a row as one: the same arrays, and for renames, slices and choices the same plan."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.surgery import Action, Plan, PlanError, make_plan, transplant
from gan_jax.surgery.ops.simplify import simplify
from gan_jax.surgery.planner import compose
from gan_jax.trees import Rule

draw = lambda *shape: np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)
fresh = lambda *shape: np.full(shape, 7, np.float32)


def moves(**rules):
    """Rules `target=(op, sources, args)`."""
    return [Rule(name, Action(op, sources, args)) for name, (op, sources, args) in rules.items()]


def check(a, b, c, first_rules, second_rules, **options):
    """The composed plan, after a comparison of what it makes with what the two make one after the other."""
    options = {"unused": "drop", "dtype": "cast", **options}
    first, second = make_plan(b, a, first_rules, **options), make_plan(c, b, second_rules, **options)
    whole = compose(second, first)
    expected, _ = transplant(second, transplant(first, a, b)[0], c)
    made, report = transplant(Plan.from_json(whole.to_json()), a, c)
    for name in expected:
        np.testing.assert_array_equal(made[name], expected[name])
        assert made[name].dtype == expected[name].dtype
    assert report.follows(whole) and Plan.from_json(whole.to_json()) == whole
    return whole


def test_renames_slices_and_choices_compose_to_the_plan_of_both():
    a, b, c = {"a": draw(8, 6), "x": draw(3)}, {"b": fresh(6, 5), "y": fresh(3)}, {"c": fresh(3, 5), "z": fresh(3)}
    first = moves(b=("slice", ("a",), {"starts": [1, 1]}), y=("copy", ("x",), {}))
    second = moves(c=("slice", ("b",), {"starts": [2, 0]}), z=("gather", ("y",), {"axis": 0, "index": [2, 0, 0]}))
    direct = moves(c=("slice", ("a",), {"starts": [3, 1]}), z=("gather", ("x",), {"axis": 0, "index": [2, 0, 0]}))
    assert check(a, b, c, first, second) == make_plan(c, a, direct, unused="drop", dtype="cast")


def test_a_permutation_and_its_inverse_are_a_copy():
    a = {"a": draw(4, 3)}
    order = lambda name, index: moves(**{name: ("permute", None, {"axis": 0, "index": index})})
    whole = check(a, {"a": fresh(4, 3)}, {"a": fresh(4, 3)}, order("a", [2, 0, 3, 1]), order("a", [1, 3, 0, 2]))
    assert whole.entries == make_plan(a, a).entries


def test_what_is_widened_and_cut_off_again_was_never_there():
    fit = [Rule("a", Action("fit"))]
    whole = check({"a": draw(4, 3)}, {"a": fresh(6, 9)}, {"a": fresh(4, 2)}, fit, fit, shape="adapt")
    assert [(entry.op, entry.args) for entry in whole.entries] == [("slice", {"shape": [4, 2]})]
    assert whole.policies["shape"] == "adapt" and whole.totals == {"copied": 8, "adapted": 0, "fresh": 0}


def test_several_leaves_join_what_was_made_of_each():
    a = {"q": draw(3, 2), "k": draw(2, 3), "v": draw(2, 4), "w": draw(1)}
    b = {"q": fresh(2, 3), "k": fresh(2, 3), "v": fresh(2, 3)}
    first = moves(q=("transpose", ("q",), {"axes": [1, 0]}), k=("copy", ("k",), {}), v=("slice", ("v",), {}))
    c = {"qkv": fresh(2, 9), "mean": fresh(3, 3)}
    second = moves(
        qkv=("concatenate", ("q", "k", "v"), {"axis": 1}),
        mean=("average+pad", ("q", "v"), {"steps": [{}, {}]}),
    )
    whole = check(a, b, c, first, second)
    assert [entry.op for entry in whole.entries] == ["nested+pad", "nested"] and whole.unused == ("w",)
    assert [entry.sources for entry in whole.entries] == [("q", "v"), ("q", "k", "v")]
    assert [entry.values for entry in whole.entries] == [
        {"copied": 0, "adapted": 6, "fresh": 3}, {"copied": 18, "adapted": 0, "fresh": 0}
    ]  # fmt: skip
    parts = lambda i: ("split", ("qkv",), {"axis": 1, "parts": 3, "index": i})
    third = make_plan(b, c, moves(q=parts(0), k=parts(1), v=parts(2)), unused="drop")
    both = transplant(compose(third, whole), a, b)[0]
    np.testing.assert_array_equal(both["q"], a["q"].T, "a third plan reads the nested one")
    swap = moves(q=("copy", ("k",), {}), k=("copy", ("q",), {}), v=("copy", ("v",), {}))
    assert check(b, b, c, swap, second).entries[1].sources == ("k", "q", "v"), "nothing to nest where leaves only moved"


def test_what_is_fresh_at_the_end_may_be_and_what_is_constant_may_be_anywhere():
    a, b, c = {"a": draw(2)}, {"a": fresh(3), "z": fresh(2)}, {"a": fresh(5) + 1, "i": fresh(2), "z": fresh(4)}
    first = moves(a=("pad", None, {}), z=("zero", None, {}))
    second = moves(a=("widen", None, {}), i=("init", None, {}), z=("widen", None, {}))
    whole = check(a, b, c, first, second)
    assert [entry.op for entry in whole.entries] == ["pad+widen", "init", "zero+widen"]
    assert whole.totals == {"copied": 2, "adapted": 0, "fresh": 9}


def test_half_precision_in_between_is_kept():
    a, b, c = {"a": draw(50)}, {"a": np.zeros(50, jnp.bfloat16)}, {"a": fresh(50)}
    assert [e.op for e in check(a, b, c, moves(a=("copy", None, {})), moves(a=("copy", None, {}))).entries] == [
        "cast+cast"
    ]


@pytest.mark.parametrize(
    ("op", "second"),
    [
        ("widen", moves(c=("copy", ("b",), {}))),
        ("init", moves(c=("copy", ("b",), {}))),
        ("widen", moves(c=("average", ("b", "b"), {}))),
        ("widen", moves(c=("widen", ("b",), {}))),
    ],
)
def test_fresh_values_in_between_cannot_be_known(op, second):
    first = make_plan({"b": fresh(6)}, {"a": draw(4)}, moves(b=(op, ("a",), {})), unused="drop")
    lost = 2 if op == "widen" else 6
    with pytest.raises(PlanError, match=rf"leaf 'c' \[6\] reads 'b' \[6\], of which {op} leaves {lost} values fresh: "
                                        r".*one plan after the other"):  # fmt: skip
        compose(make_plan({"c": fresh(6)}, {"b": fresh(6)}, second), first)


def test_plans_that_do_not_meet():
    plan = lambda new, old: make_plan(new, old, [Rule("**", Action("fit", tuple(old)))])
    first = plan({"bias": fresh(3)}, {"a": fresh(3)})
    with pytest.raises(
        PlanError, match=r"'c' comes from 'bais', which the first plan does not make \(did you mean 'bias'"
    ):
        compose(plan({"c": fresh(3)}, {"bais": fresh(3)}), first)
    with pytest.raises(PlanError, match=r"'c' \[4\] reads 'bias' as \[4\], but the first plan makes it \[3\]"):
        compose(plan({"c": fresh(4)}, {"bias": fresh(4)}), first)


@pytest.mark.parametrize(
    ("steps", "shape", "left"),
    [
        ([("transpose", {"axes": [1, 2, 0]}), ("transpose", {"axes": [2, 0, 1]})], (2, 3, 4), "copy"),
        ([("reshape", {"shape": [6]}), ("reshape", {"shape": [2, 3]})], (2, 3), "copy"),
        ([("pad", {"shape": [4]}), ("pad", {"shape": [5]})], (2,), "pad"),
        ([("pad", {"shape": [4], "centre": [0]}), ("slice", {"shape": [2]})], (2,), "pad+slice"),
        ([("pad", {"shape": [4]}), ("slice", {"shape": [3]})], (2,), "pad+slice"),
        ([("gather", {"axis": 0, "index": [0, -1]}), ("gather", {"axis": 0, "index": [1]})], (2,), "gather+gather"),
        ([("permute", {"axis": 0, "index": [1, 0]}), ("gather", {"axis": 0, "index": [1]})], (2,), "gather"),
        ([("permute", {"axis": 0, "index": [1, 0]}), ("gather", {"axis": 1, "index": [1]})], (2, 2), "permute+gather"),
        ([("slice", {"shape": [2], "view": [[4], [2]]}), ("slice", {"shape": [1]})], (4,), "slice+slice"),
        ([("copy", {}), ("slice", {"shape": [4]})], (4,), "copy"),
    ],
)
def test_neighbours_are_joined_only_where_one_does_the_work_of_both(steps, shape, left):
    assert "+".join(name for name, _ in simplify(steps, (shape,))) == left
