"""Makes plans: from rules and shapes to entries, or to an error that says everything that does not fit."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from gan_jax.surgery.ops import Step, lookup
from gan_jax.surgery.plan import Action, Plan, PlanEntry, PlanError, check_entry
from gan_jax.surgery.resolve import RESOLVERS, action_steps, policy_names, resolve, source_paths, with_cast
from gan_jax.trees import Flat, Rule, Tree, TreeError, assign, did_you_mean, flatten, match

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
