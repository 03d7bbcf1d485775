"""Operations of a rule's action under the policies: its sources, steps and conversions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from gan_jax.surgery.families import cross_fit
from gan_jax.surgery.families.fit_roles import RESOLVERS
from gan_jax.surgery.ops import OPS, Step, lookup, shape_of_steps
from gan_jax.surgery.ops.arrays import OpError, Shape
from gan_jax.surgery.plan import Action, PlanError
from gan_jax.trees import Flat, Rule, TreeError, did_you_mean

RESOLVERS = RESOLVERS | cross_fit.RESOLVERS
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
