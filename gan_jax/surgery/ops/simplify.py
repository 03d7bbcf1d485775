"""Chains of operations in which neighbours amount to less: one step where one does the work of both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gan_jax.surgery.ops import Step, shape_of_steps
from gan_jax.surgery.ops.basic import Args, Shape


def simplify(steps: list[Step], shapes: tuple[Shape, ...]) -> list[Step]:
    """Merges neighbouring operations where one does the work of both; no step that remains is a copy."""
    result: list[Step] = []
    for step in steps:
        result.append(step)
        while result:
            shape = shape_of_steps(result[:-1], shapes) if len(result) > 1 else shapes[0] if shapes else ()
            if _idle(result[-1], shape):
                result.pop()
                break
            before = shape_of_steps(result[:-2], shapes) if len(result) > 2 else shapes[0] if shapes else ()
            merged = _merge(result[-2], result[-1], before) if len(result) > 1 else None
            if merged is None:
                break
            result[-2:] = [merged]
    return result or [("copy", {})]


def _idle(step: Step, shape: Shape) -> bool:
    """Whether a step does nothing to a leaf of this shape."""
    name, args = step
    if name in ("slice", "pad", "widen", "reshape"):
        return tuple(args["shape"]) == tuple(shape)
    if name in ("gather", "permute") and "view" not in args:
        return list(args["index"]) == list(range(shape[args["axis"]]))
    return name == "copy" or (name == "transpose" and list(args["axes"]) == list(range(len(shape))))


def _merge(first: Step, second: Step, shape: Shape) -> Step | None:
    """One step for two, on a leaf of this shape; None = there is none."""
    joiner = JOINERS.get((first[0], second[0]))
    if joiner is None or "view" in first[1] or "view" in second[1]:
        return None
    return joiner(first[1], second[1], shape)


def _slices(first: Args, second: Args, shape: Shape) -> Step:
    zeros = [0] * len(shape)
    starts = [a + b for a, b in zip(first.get("starts", zeros), second.get("starts", zeros))]
    return "slice", {"shape": list(second["shape"]), **({"starts": starts} if any(starts) else {})}


def _gathers(name: str) -> Callable[[Args, Args, Shape], Step | None]:
    def merge(first: Args, second: Args, shape: Shape) -> Step | None:
        if first["axis"] != second["axis"] or -1 in first["index"] or -1 in second["index"]:
            return None  # a mean is a further row, and not one of these
        return name, {"axis": first["axis"], "index": [first["index"][i] for i in second["index"]]}

    return merge


def _cut_again(first: Args, second: Args, shape: Shape) -> Step | None:
    """A larger leaf of which only old values are kept."""
    if first.get("centre") or second.get("starts") or any(n > s for n, s in zip(second["shape"], shape)):
        return None
    return "slice", {"shape": list(second["shape"])}


def _pads(first: Args, second: Args, shape: Shape) -> Step | None:
    return None if first.get("centre") or second.get("centre") else ("pad", dict(second))


def _transposes(first: Args, second: Args, shape: Shape) -> Step:
    return "transpose", {"axes": [first["axes"][i] for i in second["axes"]]}


JOINERS: dict[tuple[str, str], Callable[[Args, Args, Shape], Any]] = {
    ("slice", "slice"): _slices,
    **{(a, b): _gathers("gather") for a in ("gather", "permute") for b in ("gather", "permute")},
    ("permute", "permute"): _gathers("permute"),
    ("widen", "slice"): _cut_again,
    ("widen_spectral", "slice"): _cut_again,
    ("pad", "slice"): _cut_again,
    ("pad", "pad"): _pads,
    ("transpose", "transpose"): _transposes,
    ("reshape", "reshape"): lambda first, second, shape: ("reshape", dict(second)),
}
