"""Makes plans: from rules and shapes to entries, or to an error that says everything that does not fit."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from gan_jax.surgery.arrays import OpError, Shape
from gan_jax.surgery.fit import RESOLVERS
from gan_jax.surgery.ops import Step, lookup
from gan_jax.surgery.plan import Entry, Move, Plan, PlanError, check_entry
from gan_jax.trees import Flat, Rule, Tree, TreeError, assign, did_you_mean, flatten, match

ALLOWED = {"missing": "init", "unused": "drop", "shape": "adapt", "dtype": "cast"}


def make_plan(
    target_specs: Tree,
    source_specs: Tree,
    rules: Sequence[Rule] = (Rule("**", Move("fit")),),
    *,
    missing: Literal["error", "init"] = "error",
    unused: Literal["error", "drop"] = "error",
    shape: Literal["error", "adapt"] = "error",
    dtype: Literal["error", "cast"] = "error",
    frozen: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Plan:
    """Plans a transplant from shapes and dtypes alone.

    Args:
      target_specs: tree of arrays or ShapeDtypeStructs to fill.
      source_specs: tree to take from.
      rules: pattern over target paths -> `Move`; first match wins, and each must win somewhere.
      missing: what to do where a source leaf does not exist; init = keep the target's fresh value.
      unused: what to do with source leaves that nothing reads.
      shape: what to do where a rule says `fit` and the shapes differ; adapt = the operations that `fit` finds.
      dtype: what to do where the dtypes differ.
      frozen: patterns over target paths that will not be trained; shown in the table.
      notes: sentences to keep with the plan.

    Raises:
      PlanError: naming every leaf that does not fit, both shapes, the nearest names and the option that allows it.
      TreeError: a rule that covers nothing, a leaf that no rule covers, or a frozen pattern that covers nothing.
    """
    policies: dict[str, str] = {"missing": missing, "unused": unused, "shape": shape, "dtype": dtype}
    for name, value in policies.items():
        if value not in ("error", ALLOWED[name]):
            raise PlanError(f"{name} is {value!r}; use 'error' or {ALLOWED[name]!r}")
    targets, sources = flatten(target_specs), flatten(source_specs)
    chosen = assign([Rule(rule.pattern, rule) for rule in rules], targets)
    for pattern in frozen:
        if not any(match(pattern, path) for path in targets):
            raise TreeError(f"frozen pattern {pattern!r} covers no leaf{did_you_mean(pattern, targets)}")
    entries: list[Entry] = []
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


def make_entry(path: str, leaf: Any, names: Sequence[str], sources: Flat, steps: Sequence[Step]) -> Entry:
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
    entry = Entry(
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


def _entry(path: str, leaf: Any, rule: Rule, sources: Flat, policies: Mapping[str, str]) -> Entry:
    move = rule.action
    if not isinstance(move, Move):
        raise PlanError(f"the action of rule {rule.pattern!r} must be a Move, not {move!r}")
    target = tuple(leaf.shape)
    if move.op not in RESOLVERS and lookup(move.op).sources == 0:
        return make_entry(path, leaf, (), sources, [(move.op, {"shape": target, **move.args})])
    names = _source_paths(path, rule, move)
    if absent := [name for name in names if name not in sources]:
        if policies["missing"] == "init":
            return make_entry(path, leaf, (), sources, [("init", {"shape": target})])
        raise PlanError(
            f"leaf {path!r} {list(target)} comes from {absent[0]!r}, which the source lacks"
            f"{did_you_mean(absent[0], sources)}; name its source in a rule, or keep the fresh value with missing='init'"
        )
    shapes = [tuple(sources[name].shape) for name in names]
    steps: list[Step] = []
    if move.op in RESOLVERS:
        read, steps = _resolve(path, target, names[0], shapes, move, policies)
        names = names[:read]
    elif move.op != "copy":
        steps = [(move.op, {"shape": target, **move.args} if _takes_shape(move, shapes) else dict(move.args))]
    return make_entry(path, leaf, names, sources, _cast(path, leaf, names[0], sources[names[0]], steps, policies))


def _resolve(
    path: str, target: Shape, name: str, shapes: Sequence[Shape], move: Move, policies: Mapping[str, str]
) -> tuple[int, list[Step]]:
    problem = f"leaf {path!r} is {list(target)}, but its source {name!r} is {list(shapes[0])}; "
    try:
        read, steps = RESOLVERS[move.op](shapes, target, move.args)
    except OpError as error:
        raise PlanError(f"{problem}{error}") from error
    if steps and policies["shape"] == "error":
        raise PlanError(f"{problem}allow {' + '.join(name for name, _ in steps)} with shape='adapt'")
    return read, steps


def _takes_shape(move: Move, shapes: Sequence[Shape]) -> bool:
    """Whether an operation is free in the shape that it makes: then the target's is filled in."""
    try:
        lookup(move.op).shape(shapes, move.args)
    except KeyError as error:
        return error.args == ("shape",)
    except (TreeError, IndexError):
        pass  # reported with the entry
    return False


def _source_paths(path: str, rule: Rule, move: Move) -> tuple[str, ...]:
    if move.sources is None:
        return (path,)
    if not rule.pattern.startswith("re:"):
        return move.sources
    found = re.fullmatch(rule.pattern[3:], path)
    assert found is not None, "the rule covers this path"
    try:
        return tuple(found.expand(template) for template in move.sources)
    except (re.error, IndexError) as error:
        raise PlanError(f"rule {rule.pattern!r} cannot fill in its source {move.sources}: {error}") from error


def _cast(path: str, leaf: Any, name: str, source: Any, steps: list[Step], policies: Mapping[str, str]) -> list[Step]:
    if str(leaf.dtype) == str(source.dtype):
        return steps
    if policies["dtype"] == "error":
        raise PlanError(
            f"leaf {path!r} is {leaf.dtype}{list(leaf.shape)}, but its source {name!r} is "
            f"{source.dtype}{list(source.shape)}; allow the conversion with dtype='cast'"
        )
    cast: Step = ("cast", {"dtype": str(leaf.dtype)})
    several = bool(steps) and lookup(steps[0][0]).sources > 1
    return [*steps, cast] if several else [cast, *steps]  # what reads fresh values comes last


def _unused(path: str, leaf: Any, targets: Flat) -> str:
    return (
        f"source leaf {path!r} {list(leaf.shape)} is read by nothing{did_you_mean(path, targets)}; "
        "add a rule that reads it, or allow it with unused='drop'"
    )


def _raise(problems: Sequence[str], limit: int = 8) -> None:
    if problems:
        more = f"\n  and {len(problems) - limit} more" if len(problems) > limit else ""
        raise PlanError("no plan:\n" + "\n".join(f"  - {text}" for text in problems[:limit]) + more)
