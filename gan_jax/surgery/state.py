"""A whole training state by one plan: parameters, collections, the moving average and Adam's moments."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from gan_jax.surgery.ops import Step, lookup
from gan_jax.surgery.ops.join import shifted
from gan_jax.surgery.plan import Plan, PlanEntry
from gan_jax.surgery.planner import make_entry
from gan_jax.surgery.transplant import Report, transplant
from gan_jax.trees import Flat, Tree, flatten

OPTIMISERS: Mapping[str, str] = {"opt_g": "g/params", "opt_d": "d/params"}  # optimiser state -> what it trains


def plan_state(plan: Plan, target_specs: Tree, source_specs: Tree, optimisers: Mapping[str, str] = OPTIMISERS) -> Plan:
    """Extends a plan over networks to the states that hold them.

    A leaf of an optimiser state whose path ends like a parameter's (`opt_g/0/mu/b8/conv0/kernel`) follows that
    parameter: the same indices, the same choice of channels, zero for what is new. Where a parameter's values are
    computed rather than moved, its moments are reset. The update count is kept only if every value of every moment
    came along: with a count of 0, Adam's bias correction is right for the zeros, and for the others it shortens the
    first steps. `g_ema` follows `g`. What is left (step, images, key, ..) keeps the target's values.

    Args:
      plan: covers the target's `g` and `d`, and `g_ema` or not.
      target_specs: the whole state to fill.
      source_specs: the whole state to take from.
      optimisers: optimiser state -> the parameters that it trains.

    Returns:
      a plan for the whole state; its notes say what was reset.
    """
    target, source = flatten(target_specs), flatten(source_specs)
    known = {entry.target: entry for entry in plan.entries}
    new = {path: _follow(path, target, source, known, optimisers) for path in target if path not in known}
    notes = list(plan.notes)
    for name in dict.fromkeys(path.split("/")[0] for path in new):
        mine = {path: entry for path, entry in new.items() if path.split("/")[0] == name}
        if name in optimisers:
            moments = [path for path in mine if _parameter(path, known, optimisers) is not None]
            moved = [entry for path in moments if (entry := mine[path]) is not None]
            whole = bool(moments) and len(moved) == len(moments) and all(e.values["fresh"] == 0 for e in moved)
            if whole:
                others = [path for path in mine if path not in moments and path in source]
                new |= {p: make_entry(p, target[p], (p,), source, []) for p in others if _alike(target[p], source[p])}
            reset = f", {len(moments) - len(moved)} reset" if len(moved) < len(moments) else ""
            count = "kept" if whole else "reset"
            notes.append(f"{name}: moments of {len(moved)} of {len(moments)} leaves moved{reset}, update count {count}")
        elif all(entry is None for entry in mine.values()):
            notes.append(f"{name}: kept from the target, not moved")
    init = lambda path: make_entry(path, target[path], (), source, [("init", {"shape": target[path].shape})])
    entries = tuple(known.get(path) or new[path] or init(path) for path in target)
    read = {path for entry in entries for path in entry.sources}
    return Plan(entries, tuple(path for path in source if path not in read), tuple(notes), plan.policies)


def transplant_state(plan: Plan, source: Tree, target: Tree) -> tuple[Tree, Report, Plan]:
    """Moves a whole state by a plan over its networks. Returns the new state, the report and the extended plan."""
    whole = plan_state(plan, target, source)
    state, report = transplant(whole, source, target)
    return state, report, whole


def _alike(a: Any, b: Any) -> bool:
    return tuple(a.shape) == tuple(b.shape) and str(a.dtype) == str(b.dtype)


def _parameter(path: str, known: Mapping[str, PlanEntry], optimisers: Mapping[str, str]) -> str | None:
    """The parameter whose moment this leaf is, by the longest tail that the paths share."""
    name, *parts = path.split("/")
    tails = ("/".join(parts[i:]) for i in range(len(parts)))
    return next((p for tail in tails if (p := f"{optimisers.get(name, '')}/{tail}") in known), None)


def _follow(
    path: str, target: Flat, source: Flat, known: Mapping[str, PlanEntry], optimisers: Mapping[str, str]
) -> PlanEntry | None:
    """The entry for a leaf that the plan does not name; None = reset."""
    name, _, tail = path.partition("/")
    if name == "g_ema" and (entry := known.get(f"g/{tail}")) is not None:
        ema = any(p.startswith("g_ema/") for p in source)
        swap = lambda p: f"g_ema/{p.removeprefix('g/')}" if ema and p.startswith("g/") else p
        (first, args), *rest = entry.steps
        if lookup(first).scored:  # at g, also here: the average keeps the channels that g keeps
            own = first in ("strongest", "important")  # in which the leaf itself may be one of those looked at
            names = [swap(entry.sources[0]), *(entry.sources if own else entry.sources[1:])]
            average = make_entry(path, target[path], names, source, [(first, shifted(args) if own else args), *rest])
            return dataclasses.replace(average, frozen=entry.frozen)
        return dataclasses.replace(entry, target=path, sources=tuple(map(swap, entry.sources)))
    if name not in optimisers or (parameter := _parameter(path, known, optimisers)) is None:
        return None
    entry = known[parameter]
    moment_steps = _moment_steps(entry)
    if moment_steps is None or not entry.sources:
        return None
    steps, scored = moment_steps
    prefix = path.removesuffix(parameter.split("/", 2)[-1])
    moments = [prefix + name.split("/", 2)[-1] for name in (entry.sources[:1] if scored else entry.sources)]
    for origin, shape in zip(moments, entry.source_shapes):
        if origin not in source or str(source[origin].dtype) != str(target[path].dtype):
            return None
        if tuple(source[origin].shape) != shape:
            return None
    if tuple(target[path].shape) != entry.target_shape:
        return None
    return make_entry(path, target[path], (*moments, *(entry.sources if scored else ())), source, steps)


def _moment_steps(entry: PlanEntry) -> tuple[list[Step], bool] | None:
    """The entry's operations for a moment of its leaf, and whether they look at the leaf itself, as sources after it.

    None = they do not move values, but make them.
    """
    steps: list[Step] = []
    scored = False
    for i, (name, args) in enumerate(entry.steps):
        op = lookup(name)
        if op.moments is None or (op.scored and i > 0):  # later, it would choose by the moment and not by the leaf
            return None
        if op.scored:
            scored, args = True, shifted(args)
        if op.moments == "pad":
            args = {key: args[key] for key in ("shape", "view", "centre") if key in args}
        if op.moments not in ("copy", "cast"):
            steps.append((op.moments, args))
    return steps, scored
