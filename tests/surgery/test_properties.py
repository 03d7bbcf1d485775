"""What holds of every plan, on random trees: composition, renaming, the account, and what is refused in which words."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gan_jax.surgery import Action, PlanError, compose, make_plan, transplant
from gan_jax.trees import Rule, TreeError, count, digest, flatten, map_with_path, specs, unflatten
from tests.surgery.test_transplant import blank, equal, trees

quick = settings(max_examples=50, deadline=None)
exact = lambda path: "re:" + re.escape(path)


@st.composite
def steps_on(draw, leaf, fresh):
    """(a move's operation and arguments, the leaf that it makes): one drawn change of one leaf."""
    shape = leaf.shape
    kinds = ["copy", "zero", "pad"] + ["gather", "permute", "slice", "transpose"] * (len(shape) > 0)
    kinds += ["init", "widen"] * fresh
    op = draw(st.sampled_from(kinds))
    if op in ("pad", "widen"):
        shape = tuple(n + draw(st.integers(0, 2)) for n in shape)
    if op in ("copy", "init", "zero", "pad", "widen"):
        return op, {}, np.zeros(shape, leaf.dtype)
    axis = draw(st.integers(0, len(shape) - 1))
    if op == "transpose":
        axes = draw(st.permutations(range(len(shape))))
        return op, {"axes": axes}, np.zeros([shape[i] for i in axes], leaf.dtype)
    if op == "slice":
        starts = [draw(st.integers(0, n - 1)) for n in shape]
        shape = tuple(draw(st.integers(1, n - a)) for n, a in zip(shape, starts))
        return op, {"starts": starts}, np.zeros(shape, leaf.dtype)
    chosen = st.lists(st.integers(0, shape[axis] - 1), min_size=1, max_size=4)
    index = draw(chosen if op == "gather" else st.permutations(range(shape[axis])))
    return op, {"axis": axis, "index": index}, np.zeros([*shape[:axis], len(index), *shape[axis + 1 :]], leaf.dtype)


@st.composite
def plans(draw, tree, prefix, fresh=True):
    """(a plan that renames every leaf and changes it somehow, the tree to fill)."""
    rules, target = [], {}
    for i, (path, leaf) in enumerate(draw(st.permutations(list(flatten(tree).items())))):
        op, args, new = draw(steps_on(leaf, fresh))
        target[f"{prefix}{i}"] = new + np.asarray(7, new.dtype)
        rules.append(Rule(f"{prefix}{i}", Action(op, (path,), args)))
    return make_plan(target, tree, rules, unused="drop"), target


@quick
@given(st.data())
def test_composition_is_one_after_the_other_or_refused_for_fresh_values(data):
    a = data.draw(trees())
    first, b = data.draw(plans(a, "b", data.draw(st.booleans())))
    second, c = data.draw(plans(b, "c"))
    halfway, _ = transplant(first, a, b)
    expected, _ = transplant(second, halfway, c)
    fresh_between = {entry.target for entry in first.entries if entry.op in ("init", "widen")}
    try:
        whole = compose(second, first)
    except PlanError as error:
        named = re.search(r"reads '(b\d+)'", str(error))
        assert named and named.group(1) in fresh_between, str(error)
        return
    made, report = transplant(whole, a, c)
    equal(made, expected)
    assert report.follows(whole) and set(whole.needed) | set(whole.unused) == set(flatten(a))


@quick
@given(trees(), st.data())
def test_renames_and_choices_compose_to_the_plan_of_both(tree, data):
    """Without values that are made, composing plans is planning the composition."""
    paths = list(flatten(tree))
    again, final = (data.draw(st.permutations(range(len(paths)))) for _ in "bc")
    b, c = ({f"{name}{i}": flatten(tree)[paths[j]] for i, j in enumerate(order)} for name, order in
            (("b", again), ("c", [again[i] for i in final])))  # fmt: skip
    to_b = [Rule(f"b{i}", Action(sources=(paths[j],))) for i, j in enumerate(again)]
    to_c = [Rule(f"c{i}", Action(sources=(f"b{j}",))) for i, j in enumerate(final)]
    direct = [Rule(f"c{i}", Action(sources=(paths[again[j]],))) for i, j in enumerate(final)]
    assert compose(make_plan(c, b, to_c), make_plan(b, tree, to_b)) == make_plan(c, tree, direct)
    back = [Rule(exact(paths[j]), Action(sources=(f"b{i}",))) for i, j in enumerate(again)]
    assert compose(make_plan(tree, b, back), make_plan(b, tree, to_b)) == make_plan(tree, tree), (
        "and there is a way back"
    )


@quick
@given(st.data())
def test_the_account_is_that_of_what_happened(data):
    """The plan's totals against the values themselves: what is copied is in the source, what is fresh was there."""
    tree = data.draw(trees())
    number = iter(range(1, 10**6))
    tree = map_with_path(
        lambda _, x: np.array([next(number) for _ in range(x.size)], np.float32).reshape(x.shape), tree
    )
    plan, target = data.draw(plans(tree, "t"))
    target = map_with_path(lambda _, x: np.full(x.shape, -1, np.float32), target)
    made, report = transplant(plan, tree, target)
    copied = sum(int((leaf > 0).sum()) for leaf in flatten(made).values())
    assert plan.totals["adapted"] == 0 and sum(plan.totals.values()) == count(target)
    assert plan.totals["fresh"] == count(target) - plan.totals["copied"]
    assert copied == plan.totals["copied"]
    for row, entry in zip(report.rows, plan.entries, strict=True):
        assert row.digest == digest(flatten(made)[row.target]) and (row.op, row.args) == (entry.op, entry.args)
        assert row.sources == {path: digest(flatten(tree)[path]) for path in entry.sources}


@quick
@given(trees(), st.data())
def test_what_does_not_fit_is_refused_with_leaf_shapes_and_remedy(tree, data):
    """One thing wrong with the identity plan, whatever the tree."""
    path = data.draw(st.sampled_from(list(flatten(tree))))
    leaf = flatten(tree)[path]
    others = [Rule(exact(p), Action("fit")) for p in flatten(tree) if p != path]
    mine, named = Rule(exact(path), Action("fit")), re.escape(repr(path))
    with pytest.raises(TreeError, match="rule 'nowhere/at/all' covers no leaf"):
        make_plan(tree, tree, [Rule("nowhere/at/all", Action()), mine, *others])
    with pytest.raises(TreeError, match=f"no rule covers leaf {named}.*Rule"):
        make_plan(tree, tree, others)
    with pytest.raises(PlanError, match=f"source leaf {named} .* is read by nothing.*unused='drop'"):
        make_plan(tree, tree, [Rule(exact(path), Action("init")), *others])
    with pytest.raises(PlanError, match=f"leaf {named} .* comes from 'lost', which the source lacks.*missing='init'"):
        make_plan(tree, tree, [Rule(exact(path), Action("fit", ("lost",))), *others], unused="drop")
    changed = lambda new: unflatten({**flatten(tree), path: new})
    other = "float32" if str(leaf.dtype) == "int32" else "int32"
    shape = re.escape(str(list(leaf.shape)))
    with pytest.raises(
        PlanError,
        match=rf"leaf {named} is {other}{shape}, but its source {named} is {leaf.dtype}{shape}; .*dtype='cast'",
    ):
        make_plan(changed(np.zeros(leaf.shape, other)), tree)
    if leaf.shape:
        larger = np.zeros([n + 1 for n in leaf.shape], leaf.dtype)
        was = re.escape(str(list(larger.shape)))
        with pytest.raises(PlanError, match=rf"leaf {named} is {was}, but its source {named} is {shape}; allow widen"):
            make_plan(changed(larger), tree)
        with pytest.raises(
            PlanError, match=rf"leaf {named} is {was}.*{shape}; this needs widen, and shape allows slice only"
        ):
            make_plan(changed(larger), tree, shape="slice")
        assert make_plan(changed(larger), tree, shape="widen").totals["fresh"] == larger.size - leaf.size


@quick
@given(trees())
def test_the_identity_composes_with_itself(tree):
    same = make_plan(specs(tree), specs(tree))
    assert compose(same, same) == same
    equal(transplant(compose(same, same), tree, blank(tree))[0], tree)
