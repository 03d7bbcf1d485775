"""Planning: from rules and shapes to entries, or to an error with everything that does not fit; two plans in a row as one."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from gan_jax.surgery.families import cross, fit
from gan_jax.surgery.ops import OPS, Step, lookup, shape_of_steps
from gan_jax.surgery.ops.basic import OpError, Shape
from gan_jax.surgery.ops.simplify import simplify
from gan_jax.surgery.plan import Action, Plan, PlanEntry, PlanError, check_entry
from gan_jax.trees import Flat, Rule, Tree, TreeError, assign, did_you_mean, flatten, match

# ----------------------------------------------------------------------------------------------------------------------
# Operations of a rule's action under the policies: its sources, steps and conversions.

RESOLVERS = fit.RESOLVERS | cross.RESOLVERS
FILLED = {
    "shape": lambda path, target: target,
    "salt": lambda path, target: path,
}  # arguments that an Action may leave out


def resolve(
    path: str, target: Shape, name: str, shapes: Sequence[Shape], action: Action, policies: Mapping[str, str]
) -> tuple[int, list[Step]] | None:
    """(how many sources are read, the steps); None = keep the fresh value."""
    problem = f"leaf {path!r} is {list(target)}, but its source {name!r} is {list(shapes[0])}; "
    allowed = policies["shape"].split(",")
    try:
        read, steps = RESOLVERS[action.op](shapes, target, action.args)
    except OpError as error:
        if "init" in allowed:
            return None
        raise PlanError(f"{problem}{error}") from error
    needed = [name for name, _ in steps]
    if allowed == ["adapt"] or not (others := [name for name in needed if name not in allowed]):
        return read, steps
    if "init" in allowed:
        return None
    if allowed == ["error"]:
        raise PlanError(f"{problem}allow {' + '.join(needed)} with shape='adapt'")
    raise PlanError(
        f"{problem}this needs {' + '.join(needed)}, and shape allows {', '.join(allowed)} only; "
        f"add {', '.join(dict.fromkeys(others))} to it, or say shape='adapt'"
    )


def policy_names(shape: str | Sequence[str]) -> str:
    """The policy for shapes as one text: `error`, `adapt`, or names of operations with commas between."""
    names = [name.strip() for name in (shape.split(",") if isinstance(shape, str) else shape)]
    if names in (["error"], ["adapt"]):
        return names[0]
    for name in names:
        if name not in OPS or (lookup(name).sources == 0 and name != "init"):
            known = ", ".join(key for key, op in OPS.items() if op.sources)
            raise PlanError(
                f"shape is {shape!r}, and {name!r} is no operation that adapts a leaf{did_you_mean(name, OPS)}; "
                f"use 'error', 'adapt', 'init' or names of {known}"
            )
    if not names:
        raise PlanError("shape names no operation; use 'error' to allow none")
    return ",".join(names)


def action_steps(path: str, target: Shape, action: Action, shapes: Sequence[Shape]) -> list[Step]:
    """The operations of an action, each with its arguments, and with those that the planner can fill in."""
    names = action.op.split("+")
    arguments = action.args.get("steps", [{}] * len(names)) if len(names) > 1 else [action.args]
    if len(arguments) != len(names):
        raise PlanError(
            f"leaf {path!r}: {action.op} needs {len(names)} sets of arguments in steps, not {len(arguments)}"
        )
    steps: list[Step] = []
    for name, some in zip(names, arguments):
        args = dict(some)
        try:
            for _ in FILLED:
                try:
                    lookup(name).shape(shapes, args)
                except KeyError as error:
                    if error.args[0] in FILLED:
                        args[error.args[0]] = FILLED[error.args[0]](path, target)
            shapes = [shape_of_steps([(name, args)], shapes)]
        except (TreeError, IndexError, TypeError):
            pass  # reported with the entry
        steps.append((name, args))
    return steps


def source_paths(path: str, rule: Rule, action: Action) -> tuple[str, ...]:
    if action.sources is None:
        return (path,)
    if not rule.pattern.startswith("re:"):
        return action.sources
    match = re.fullmatch(rule.pattern[3:], path)
    assert match is not None, "the rule covers this path"
    try:
        return tuple(match.expand(template) for template in action.sources)
    except (re.error, IndexError) as error:
        raise PlanError(f"rule {rule.pattern!r} cannot fill in its source {action.sources}: {error}") from error


def with_cast(
    path: str, leaf: Any, names: Sequence[str], sources: Flat, steps: list[Step], policies: Mapping[str, str]
) -> list[Step]:
    first = lookup(steps[0][0]) if steps else None
    moved = names if first and first.many and not first.scored else names[:1]
    wrong = [name for name in moved if str(sources[name].dtype) != str(leaf.dtype)]
    if not wrong:
        return steps
    if policies["dtype"] == "error":
        source = sources[wrong[0]]
        raise PlanError(
            f"leaf {path!r} is {leaf.dtype}{list(leaf.shape)}, but its source {wrong[0]!r} is "
            f"{source.dtype}{list(source.shape)}; allow the conversion with dtype='cast'"
        )
    cast: Step = ("cast", {"dtype": str(leaf.dtype)})
    if len(moved) > 1:  # each for itself: what is joined must be of one kind
        inputs = [{"sources": [i], "steps": [list(cast)] * (name in wrong)} for i, name in enumerate(names)]
        return [("nested", {"op": steps[0][0], "args": steps[0][1], "inputs": inputs}), *steps[1:]]
    several = first is not None and (first.sources > 1 or first.many)
    return [*steps, cast] if several else [cast, *steps]  # what reads fresh values comes last


# ----------------------------------------------------------------------------------------------------------------------
# Plans.

ALLOWED = {"missing": "init", "unused": "drop", "shape": "adapt", "dtype": "cast"}


def make_plan(
    target_specs: Tree,
    source_specs: Tree,
    rules: Sequence[Rule] = (Rule("**", Action("fit")),),
    *,
    missing: Literal["error", "init"] = "error",
    unused: Literal["error", "drop"] = "error",
    shape: str | Sequence[str] = "error",
    dtype: Literal["error", "cast"] = "error",
    frozen: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Plan:
    """Plans a transplant from shapes and dtypes alone.

    Args:
      target_specs: tree of arrays or ShapeDtypeStructs to fill.
      source_specs: tree to take from.
      rules: pattern over target paths -> `Action`; first match wins, and each must win somewhere.
      missing: what to do where a source leaf does not exist; init = keep the target's fresh value.
      unused: what to do with source leaves that nothing reads.
      shape: what to do where a rule says `fit` and the shapes differ: `adapt` = the operations that `fit` finds; or
        the operations that it may use, as `"slice"`, `"slice,widen"` or `("slice", "widen")`. `init` among them keeps
        the fresh value of a leaf that would need any other.
      dtype: what to do where the dtypes differ.
      frozen: patterns over target paths that will not be trained; shown in the table.
      notes: sentences to keep with the plan.

    Raises:
      PlanError: naming every leaf that does not fit, both shapes, the nearest names and the option that allows it.
      TreeError: a rule that covers nothing, a leaf that no rule covers, or a frozen pattern that covers nothing.
    """
    policies: dict[str, str] = {"missing": missing, "unused": unused, "shape": policy_names(shape), "dtype": dtype}
    for name, value in policies.items():
        if name != "shape" and value not in ("error", ALLOWED[name]):
            raise PlanError(f"{name} is {value!r}; use 'error' or {ALLOWED[name]!r}")
    targets, sources = flatten(target_specs), flatten(source_specs)
    chosen = assign([Rule(rule.pattern, rule) for rule in rules], targets)
    for pattern in frozen:
        if not any(match(pattern, path) for path in targets):
            raise TreeError(f"frozen pattern {pattern!r} covers no leaf{did_you_mean(pattern, targets)}")
    entries: list[PlanEntry] = []
    problems: list[str] = []
    for path, leaf in targets.items():
        try:
            entry = _entry(path, leaf, chosen[path], sources, policies)
            entries.append(dataclasses.replace(entry, frozen=any(match(pattern, path) for pattern in frozen)))
        except TreeError as error:
            problems.append(str(error))
    _raise(problems)
    read = {path for entry in entries for path in entry.sources}
    left = tuple(path for path in sources if path not in read)
    if unused == "error":
        _raise([_unused(path, sources[path], targets) for path in left])
    return Plan(tuple(entries), left, tuple(notes), policies)


def make_entry(path: str, leaf: Any, names: Sequence[str], sources: Flat, steps: Sequence[Step]) -> PlanEntry:
    """A checked entry from a list of operations; no operation is a copy.

    Args:
      path: the target leaf.
      leaf: its array or spec.
      names: the source leaves that are read.
      sources: specs by path.
      steps: operations with their arguments, in order.
    """
    steps = [*steps] or [("copy", {})]
    args = steps[0][1] if len(steps) == 1 else {"steps": [args for _, args in steps]}
    entry = PlanEntry(
        target=path,
        sources=tuple(names),
        op="+".join(name for name, _ in steps),
        args=json.loads(json.dumps(args)),  # tuples become lists here, as they would on the way through a file
        target_shape=tuple(leaf.shape),
        target_dtype=str(leaf.dtype),
        source_shapes=tuple(tuple(sources[name].shape) for name in names),
    )
    check_entry(entry)
    return entry


def _entry(path: str, leaf: Any, rule: Rule, sources: Flat, policies: Mapping[str, str]) -> PlanEntry:
    action = rule.action
    if not isinstance(action, Action):
        raise PlanError(f"the action of rule {rule.pattern!r} must be an Action, not {action!r}")
    target = tuple(leaf.shape)
    if action.op not in RESOLVERS and lookup(action.op.split("+")[0]).sources == 0:
        return make_entry(path, leaf, (), sources, action_steps(path, target, action, []))
    names = source_paths(path, rule, action)
    if not names:
        raise PlanError(f"leaf {path!r}: {action.op} reads a source, but rule {rule.pattern!r} names none")
    if absent := [name for name in names if name not in sources]:
        if policies["missing"] == "init":
            return make_entry(path, leaf, (), sources, [("init", {"shape": target})])
        raise PlanError(
            f"leaf {path!r} {list(target)} comes from {absent[0]!r}, which the source lacks"
            f"{did_you_mean(absent[0], sources)}; name its source in a rule, or keep the fresh value with missing='init'"
        )
    shapes = [tuple(sources[name].shape) for name in names]
    steps: list[Step] = []
    if action.op in RESOLVERS:
        resolved = resolve(path, target, names[0], shapes, action, policies)
        if resolved is None:
            return make_entry(path, leaf, (), sources, [("init", {"shape": target})])
        names, steps = names[: resolved[0]], resolved[1]
    elif action.op != "copy":
        steps = action_steps(path, target, action, shapes)
    return make_entry(path, leaf, names, sources, with_cast(path, leaf, names, sources, steps, policies))


def _unused(path: str, leaf: Any, targets: Flat) -> str:
    return (
        f"source leaf {path!r} {list(leaf.shape)} is read by nothing{did_you_mean(path, targets)}; "
        "add a rule that reads it, or allow it with unused='drop'"
    )


def _raise(problems: Sequence[str], limit: int = 8) -> None:
    if problems:
        more = f"\n  and {len(problems) - limit} more" if len(problems) > limit else ""
        raise PlanError("no plan:\n" + "\n".join(f"  - {text}" for text in problems[:limit]) + more)


# ----------------------------------------------------------------------------------------------------------------------
# Two plans in a row as one, without the tree between them.
#
# `transplant(compose(second, first), a, c)` is `transplant(second, transplant(first, a, b)[0], c)`, bit-exact.
# A leaf with one source gets the steps of both plans in a row. Where the second plan reads several leaves, what the first
# plan does to each is kept inside the step (`nested`). Neighbours that amount to less are merged: a slice of a slice is a
# slice, a choice of a choice is a choice, what is padded and cut off again was never there.


def compose(second: Plan, first: Plan) -> Plan:
    """The plan that does what `first` does and then `second`.

    Args:
      second: its source is what `first` makes.
      first: of the earlier step.

    Returns:
      a plan from the first plan's source to the second plan's target. Unused is what neither reads on to the end; the
      notes are those of both; a policy is the second plan's, or the first's where the second one allows nothing.

    Raises:
      PlanError: the second plan reads a leaf that the first does not make, or makes in another shape, or one with
        values that were fresh in between: those are not known from the source, so execute one after the other.
    """
    between = {entry.target: entry for entry in first.entries}
    entries = tuple(_composed_entry(entry, between) for entry in second.entries)
    read = {path for entry in entries for path in entry.sources}
    paths = sorted({*first.needed, *first.unused}, key=lambda path: path.split("/"))  # the order of a tree of dicts
    names = {**first.policies, **second.policies}
    allowed = lambda name: [p for plan in (second, first) if (p := plan.policies.get(name, "error")) != "error"]
    policies = {name: (allowed(name) or ["error"])[0] for name in names}
    notes = tuple(dict.fromkeys(first.notes + second.notes))
    return Plan(entries, tuple(path for path in paths if path not in read), notes, policies)


def _composed_entry(entry: PlanEntry, between: Mapping[str, PlanEntry]) -> PlanEntry:
    """An entry of the second plan, reading what the first plan's entries read."""
    if not entry.sources:
        return entry
    inputs = [_input(entry, name, shape, between) for name, shape in zip(entry.sources, entry.source_shapes)]
    if len(inputs) == 1:
        steps = simplify([*inputs[0].steps, *entry.steps], inputs[0].source_shapes)
        leaves = dict(zip(inputs[0].sources, inputs[0].source_shapes))
        sources = inputs[0].sources
    else:
        leaves = {path: shape for part in inputs for path, shape in zip(part.sources, part.source_shapes)}
        sources = tuple(path for part in inputs for path in part.sources)
        steps = entry.steps
        if any(part.op != "copy" for part in inputs):
            sources = tuple(leaves)
            number = {path: i for i, path in enumerate(leaves)}
            parts = [
                {"sources": [number[path] for path in part.sources], "steps": [list(step) for step in part.steps]}
                for part in inputs
            ]
            (name, args), *rest = steps
            steps = [("nested", {"op": name, "args": args, "inputs": parts}), *rest]
    _refuse_fresh(entry, inputs, steps)
    if lookup(steps[0][0]).sources == 0:
        sources = ()
    composed = PlanEntry(
        target=entry.target,
        sources=sources,
        op="+".join(name for name, _ in steps),
        args=dict(steps[0][1]) if len(steps) == 1 else {"steps": [args for _, args in steps]},
        target_shape=entry.target_shape,
        target_dtype=entry.target_dtype,
        source_shapes=tuple(leaves[path] for path in sources),
        frozen=entry.frozen,
    )
    check_entry(composed)
    return composed


def _input(entry: PlanEntry, name: str, shape: Shape, between: Mapping[str, PlanEntry]) -> PlanEntry:
    if name not in between:
        raise PlanError(
            f"leaf {entry.target!r} comes from {name!r}, which the first plan does not make{did_you_mean(name, between)}"
        )
    if between[name].target_shape != shape:
        raise PlanError(
            f"leaf {entry.target!r} {list(entry.target_shape)} reads {name!r} as {list(shape)}, but the first plan makes "
            f"it {list(between[name].target_shape)}; make the second plan for what the first one fills"
        )
    return between[name]


def _refuse_fresh(entry: PlanEntry, inputs: list[PlanEntry], steps: list[Step]) -> None:
    """Raises where fresh values of the tree in between are carried on."""
    reads_fresh = lambda name: lookup(name).fresh and not lookup(name).constant
    own = steps[-1][1] is entry.steps[-1][1]  # the last step may read what is fresh in the end
    early = [name for name, _ in (steps[:-1] if own else steps) if reads_fresh(name)]
    inner = [part for part in inputs if any(lookup(name).fresh for name, _ in part.steps)]
    if early or (inner and steps[0][0] == "nested"):
        fresh = inner[0]
        raise PlanError(
            f"leaf {entry.target!r} {list(entry.target_shape)} reads {fresh.target!r} {list(fresh.target_shape)}, of which "
            f"{fresh.op} leaves {fresh.values['fresh']:,} values fresh: they are not known from the source. Execute one "
            "plan after the other, or drop these values in the second plan"
        )
