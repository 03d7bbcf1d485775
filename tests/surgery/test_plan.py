"""Plans: what they refuse and how they say it, what they print, and that they are made from shapes, fast."""

from __future__ import annotations

import dataclasses
import time

import jax
import numpy as np
import pytest

from gan_jax.config import ResNetConfig
from gan_jax.nets import build
from gan_jax.surgery import Action, Plan, PlanError, make_plan, pair_rules, transplant
from gan_jax.trees import Rule, TreeError, count, unflatten


def tree(dtype="float32", **leaves):
    return unflatten({path.replace("__", "/"): jax.ShapeDtypeStruct(shape, dtype) for path, shape in leaves.items()})


OLD = tree(g__b8__kernel=(3, 3, 4, 4), g__b8__bias=(4,), d__head=(4, 1))
NEW = tree(g__b8__kernel=(3, 3, 6, 6), g__b8__bias=(6,), d__head=(4, 1))


def test_identical_trees_are_copied():
    plan = make_plan(OLD, OLD)
    assert [entry.op for entry in plan.entries] == ["copy"] * 3
    assert plan.totals == {"copied": 152, "adapted": 0, "fresh": 0} and plan.unused == ()
    assert plan.needed == ("d/head", "g/b8/bias", "g/b8/kernel")


def test_a_wrong_shape_names_leaf_shapes_and_remedy():
    with pytest.raises(PlanError) as caught:
        make_plan(NEW, OLD)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3, "one for each leaf, all at once"
    assert "'g/b8/bias' is [6], but its source 'g/b8/bias' is [4]; allow widen with shape='adapt'" in lines[1]
    assert "'g/b8/kernel' is [3, 3, 6, 6], but its source 'g/b8/kernel' is [3, 3, 4, 4]" in lines[2]
    plan = make_plan(NEW, OLD, shape="adapt")
    assert plan.totals == {"copied": 152, "adapted": 0, "fresh": 9 * 36 - 9 * 16 + 2}


def test_copy_is_a_copy_even_where_shapes_may_be_adapted():
    with pytest.raises(PlanError, match=r"'g/b8/bias' is \[6\], but copy makes \[4\] of \[4\].*use Action\('fit'\)"):
        make_plan(NEW, OLD, [Rule("**", Action())], shape="adapt")


def test_ranks_are_not_guessed():
    with pytest.raises(PlanError, match=r"'a' is \[3\].*\[3, 1\]; .*differ in rank; name an operation"):
        make_plan(tree(a=(3,)), tree(a=(3, 1)), shape="adapt")


def test_a_missing_source_names_the_nearest_and_the_option():
    target = tree(g__b16__kernel=(3, 3, 4, 4), g__b8__bias=(4,), d__head=(4, 1))
    with pytest.raises(PlanError, match=r"'g/b16/kernel' \[3, 3, 4, 4\] comes from 'g/b16/kernel', which the source lacks "
                                        r"\(did you mean 'g/b8/kernel'.*missing='init'"):  # fmt: skip
        make_plan(target, OLD)
    with pytest.raises(PlanError, match=r"source leaf 'g/b8/kernel' \[3, 3, 4, 4\] is read by nothing.*unused='drop'"):
        make_plan(target, OLD, missing="init")
    plan = make_plan(target, OLD, missing="init", unused="drop")
    assert [entry.op for entry in plan.entries] == ["copy", "init", "copy"] and plan.unused == ("g/b8/kernel",)


def test_a_wrong_dtype_names_both_and_the_option():
    half = tree("bfloat16", a=(3,))
    with pytest.raises(
        PlanError, match=r"'a' is float32\[3\].* is bfloat16\[3\]; allow the conversion with dtype='cast'"
    ):
        make_plan(tree(a=(3,)), half)
    (entry,) = make_plan(tree(a=(3,)), half, dtype="cast").entries
    assert (entry.op, entry.args, entry.target_dtype) == ("cast", {"dtype": "float32"}, "float32")
    (entry,) = make_plan(tree(a=(5,)), half, dtype="cast", shape="adapt").entries
    assert entry.op == "cast+widen", "what reads fresh values comes last"


def test_rules_rename_by_groups():
    target = tree(net__block0__w=(2,), net__block1__w=(2,))
    source = tree(old__b8__w=(2,), old__b16__w=(2,))
    rules = [
        Rule("re:net/block0/(.*)", Action(sources=(r"old/b8/\1",))),
        Rule("net/block1/w", Action(sources=("old/b16/w",))),
    ]
    assert [entry.sources for entry in make_plan(target, source, rules).entries] == [("old/b8/w",), ("old/b16/w",)]
    with pytest.raises(PlanError, match="cannot fill in its source"):
        make_plan(target, source, [Rule("re:net/.*", Action(sources=(r"old/\1",)))])


def test_a_rename_is_a_copy_from_another_path():
    source, target = {"old": np.arange(3.0)}, {"new": np.zeros(3)}
    plan = make_plan(target, source, [Rule("new", Action(sources=("old",)))])
    (entry,) = plan.entries
    assert (entry.target, entry.sources, entry.op) == ("new", ("old",), "copy") and plan.unused == ()
    assert str(plan).splitlines()[2].split()[:3] == ["new", "old", "copy"]
    np.testing.assert_array_equal(transplant(plan, source, target)[0]["new"], source["old"])


def test_shape_may_name_the_operations_that_it_allows():
    target, source = tree(a=(6,), b=(2,), c=(3, 3)), tree(a=(4,), b=(5,), c=(4, 2))
    with pytest.raises(PlanError) as caught:
        make_plan(target, source, shape="widen")
    lines = str(caught.value).splitlines()
    assert len(lines) == 3, "a is allowed"
    assert "'b' is [2], but its source 'b' is [5]; this needs slice, and shape allows widen only; add slice" in lines[1]
    assert "'c' is [3, 3], but its source 'c' is [4, 2]; this needs slice + widen" in lines[2]
    for shape in (("slice", "widen"), "slice, widen", "adapt"):
        plan = make_plan(target, source, shape=shape)
        assert [entry.op for entry in plan.entries] == ["widen", "slice", "slice+widen"]
    assert make_plan(target, source, shape=["slice", "widen"]).policies["shape"] == "slice,widen"
    plan = make_plan({**target, "d": target["a"]}, {**source, "d": tree(d=(6, 1))["d"]}, shape="init", unused="drop")
    assert [entry.op for entry in plan.entries] == ["init"] * 4 and plan.unused == ("a", "b", "c", "d")
    for wrong, message in [
        ("wyden", r"'wyden' is no operation that adapts a leaf \(did you mean 'widen'"),
        ("zero", "'zero' is no operation that adapts a leaf"),
        ("adapt,slice", "'adapt' is no operation"),
        ((), "shape names no operation; use 'error'"),
    ]:
        with pytest.raises(PlanError, match=message):
            make_plan(target, source, shape=wrong)


def test_several_sources():
    source, target = tree(q=(2, 3), k=(2, 3), v=(2, 3)), tree(qkv=(2, 9))
    join = [Rule("qkv", Action("concatenate", ("q", "k", "v"), {"axis": 1}))]
    (entry,) = make_plan(target, source, join).entries
    assert entry.values == {"copied": 18, "adapted": 0, "fresh": 0} and entry.source_shapes == ((2, 3),) * 3
    part = lambda name, i: Rule(name, Action("split", ("qkv",), {"axis": 1, "parts": 3, "index": i}))
    back = make_plan(source, target, [part("q", 0), part("k", 1), part("v", 2)])
    arrays = {name: np.full((2, 3), i, np.float32) for i, name in enumerate("qkv")}
    joined, _ = transplant(make_plan(target, source, join), arrays, {"qkv": np.zeros((2, 9), np.float32)})
    parted, _ = transplant(back, joined, {name: np.zeros((2, 3), np.float32) for name in "qkv"})
    for name in "qkv":
        np.testing.assert_array_equal(parted[name], arrays[name])
    half = {**source, "k": tree("bfloat16", k=(2, 3))["k"]}
    with pytest.raises(PlanError, match=r"'qkv' is float32.* its source 'k' is bfloat16\[2, 3\]; .*dtype='cast'"):
        make_plan(target, half, join)
    (entry,) = make_plan(target, half, join, dtype="cast").entries
    assert entry.op == "nested" and [len(part["steps"]) for part in entry.args["inputs"]] == [0, 1, 0]
    with pytest.raises(PlanError, match="leaf 'q': copy fails: copy reads 1 source leaves, but 2 are named"):
        make_plan(tree(q=(2, 3)), source, [Rule("q", Action("copy", ("q", "k")))], unused="drop")
    with pytest.raises(PlanError, match="leaf 'qkv': concatenate reads a source, but rule 'qkv' names none"):
        make_plan(target, source, [Rule("qkv", Action("concatenate", (), {"axis": 1}))])


def test_moves_in_a_row_and_arguments_that_are_filled_in():
    move = Action("scale+noise+pad", args={"steps": [{"factor": 0.5}, {"std": 0.1, "seed": 3}, {}]})
    (entry,) = make_plan(tree(a=(6,)), tree(a=(4,)), [Rule("a", move)]).entries
    assert entry.steps == [
        ("scale", {"factor": 0.5}), ("noise", {"std": 0.1, "seed": 3, "salt": "a"}), ("pad", {"shape": [6]})
    ]  # fmt: skip
    with pytest.raises(PlanError, match="leaf 'a': scale.noise needs 2 sets of arguments in steps, not 1"):
        make_plan(tree(a=(4,)), tree(a=(4,)), [Rule("a", Action("scale+noise", args={"steps": [{}]}))])


def test_rules_are_checked():
    everything = Rule("**", Action("fit"))
    with pytest.raises(TreeError, match=r"rule 'g/b9/kernel' covers no leaf \(did you mean 'g/b8/kernel'"):
        make_plan(OLD, OLD, [Rule("g/b9/kernel", Action()), everything])
    with pytest.raises(TreeError, match="never wins"):
        make_plan(OLD, OLD, [everything, Rule("g/b8/kernel", Action())])
    with pytest.raises(TreeError, match="no rule covers leaf 'd/head'"):
        make_plan(OLD, OLD, [Rule("g/**", Action())])
    with pytest.raises(PlanError, match="must be an Action, not 'copy'"):
        make_plan(OLD, OLD, [Rule("**", "copy")])
    with pytest.raises(PlanError, match=r"no operation 'coppy' \(did you mean 'copy'"):
        make_plan(OLD, OLD, [Rule("**", Action("coppy"))])
    with pytest.raises(PlanError, match=r"slice fails: \[6, 6\] is no part of|is no part of"):
        make_plan(tree(a=(6,)), tree(a=(4,)), [Rule("**", Action("slice"))])
    with pytest.raises(PlanError, match="missing is 'ignore'; use 'error' or 'init'"):
        make_plan(OLD, OLD, missing="ignore")  # pyright: ignore[reportArgumentType]


def test_a_named_operation_needs_no_permission():
    source, target = tree(a=(4,)), tree(a=(6,))
    (entry,) = make_plan(target, source, [Rule("a", Action("pad"))]).entries
    assert (entry.op, entry.args) == ("pad", {"shape": [6]})
    (entry,) = make_plan(tree(a=(5, 4)), source, [Rule("a", Action("tile", args={"axis": 0, "repeats": 5}))]).entries
    assert entry.values == {"copied": 20, "adapted": 0, "fresh": 0}
    with pytest.raises(PlanError, match=r"'a' is \[6, 4\], but tile makes \[5, 4\] of \[4\]"):
        make_plan(tree(a=(6, 4)), source, [Rule("a", Action("tile", args={"axis": 0, "repeats": 5}))])


def test_frozen_leaves_are_marked_and_dead_patterns_refused():
    plan = make_plan(OLD, OLD, frozen=["g/b8/*"])
    assert [entry.frozen for entry in plan.entries] == [False, True, True]
    with pytest.raises(TreeError, match=r"frozen pattern 'g/b9/\*' covers no leaf"):
        make_plan(OLD, OLD, frozen=["g/b9/*"])


def test_json_round_trip_and_damage():
    plan = make_plan(NEW, OLD, shape="adapt", frozen=["d/**"], notes=["a note"])
    assert Plan.from_json(plan.to_json()) == plan
    for text, message in [
        ("{", "this is no plan"),
        ("[]", "this is no plan"),
        (plan.to_json().replace('"op": "widen"', '"op": "wyden"', 1), r"leaf 'g/b8/bias': wyden fails: no operation"),
        (plan.to_json().replace('"format": 1', '"format": 9'), "format 9; this version reads 1"),
        (plan.to_json().replace('"frozen"', '"freezing"'), "this is no plan"),
    ]:
        with pytest.raises(PlanError, match=message):
            Plan.from_json(text)
    entry = dataclasses.replace(plan.entries[0], target_shape=(5, 1))
    with pytest.raises(PlanError, match=r"'d/head' is \[5, 1\], but copy makes \[4, 1\]"):
        Plan.from_json(dataclasses.replace(plan, entries=(entry,)).to_json())
    early = dataclasses.replace(plan.entries[1], op="widen+copy", args={"steps": [plan.entries[1].args, {}]})
    with pytest.raises(PlanError, match="widen reads the target's fresh value, so it must come last"):
        Plan.from_json(dataclasses.replace(plan, entries=(early,)).to_json())


def test_the_table():
    plan = make_plan(
        NEW, {**OLD, "old": OLD["d"]}, shape="adapt", unused="drop", frozen=["d/**"], notes=["all is well"]
    )
    lines = str(plan).splitlines()
    assert lines[0].split("  ")[0] == "target" and set(lines[1]) == {"-", " "}
    assert lines[2].split() == ["d/head", "=", "copy", "4x1", "float32", "4", "1.2", "%", "yes"]
    assert lines[4].split() == ["g/b8/kernel", "=", "widen", "3x3x4x4", "->", "3x3x6x6", "float32", "324", "97.0", "%"]
    assert lines[5] == "3 leaves, 334 values: 45.5 % copied (152), 0.0 % adapted (0), 54.5 % fresh (182); 4 frozen"
    assert lines[6:] == ["not used of the source: old/head", "note: all is well"]


def test_a_plan_for_thirty_million_parameters_takes_no_array_and_less_than_two_seconds():
    def shapes(width, resolution):
        config = ResNetConfig(resolution=resolution, channels=3, channel_base=1 << 16, channel_max=width)
        return config, {"g": build(config).g.specs(), "d": build(config).d.specs()}

    (old, source), (new, target) = shapes(256, 64), shapes(448, 128)
    assert count(target) > 30e6
    before = {id(array) for array in jax.live_arrays()}
    start = time.perf_counter()
    plan = make_plan(target, source, pair_rules(new, old, target, source), shape="adapt")
    text, again = str(plan), Plan.from_json(plan.to_json())
    assert time.perf_counter() - start < 2
    assert [array for array in jax.live_arrays() if id(array) not in before] == []
    assert again == plan
    assert sum(plan.totals.values()) == count(target) == sum(entry.size for entry in plan.entries)
    assert len({entry.target for entry in plan.entries}) == len(plan.entries) == len(jax.tree.leaves(target))
    assert f"{count(target):,} values" in text and len(text.splitlines()) == len(plan.entries) + 3
    assert np.isclose(plan.totals["copied"] + plan.totals["adapted"], count(source), rtol=0.01), "nothing of it is lost"
