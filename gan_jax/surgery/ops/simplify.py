"""Chains of operations in which neighbours amount to less: one step where one does the work of both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gan_jax.surgery.ops import Step, shape_of_steps
from gan_jax.surgery.ops.arrays import Args, Shape


def simplify(steps: list[Step], shapes: tuple[Shape, ...]) -> list[Step]:
    """The same operations with neighbours joined where one does the work of both; nothing left is a copy."""
    done: list[Step] = []
    for step in steps:
        done.append(step)
        while done:
            shape = shape_of_steps(done[:-1], shapes) if len(done) > 1 else shapes[0] if shapes else ()
            if _idle(done[-1], shape):
                done.pop()
                break
            before = shape_of_steps(done[:-2], shapes) if len(done) > 2 else shapes[0] if shapes else ()
            joined = _join(done[-2], done[-1], before) if len(done) > 1 else None
            if joined is None:
                break
            done[-2:] = [joined]
    return done or [("copy", {})]


def _idle(step: Step, shape: Shape) -> bool:
    """Whether a step does nothing to a leaf of this shape."""
    name, args = step
    if name in ("slice", "pad", "widen", "reshape"):
        return tuple(args["shape"]) == tuple(shape)
    if name in ("gather", "permute") and "view" not in args:
        return list(args["index"]) == list(range(shape[args["axis"]]))
    return name == "copy" or (name == "transpose" and list(args["axes"]) == list(range(len(shape))))


def _join(one: Step, two: Step, shape: Shape) -> Step | None:
    """One step for two, on a leaf of this shape; None = there is none."""
    joiner = JOINERS.get((one[0], two[0]))
    if joiner is None or "view" in one[1] or "view" in two[1]:
        return None
    return joiner(one[1], two[1], shape)


def _slices(one: Args, two: Args, shape: Shape) -> Step:
    zeros = [0] * len(shape)
    starts = [a + b for a, b in zip(one.get("starts", zeros), two.get("starts", zeros))]
    return "slice", {"shape": list(two["shape"]), **({"starts": starts} if any(starts) else {})}


def _gathers(name: str) -> Callable[[Args, Args, Shape], Step | None]:
    def join(one: Args, two: Args, shape: Shape) -> Step | None:
        if one["axis"] != two["axis"] or -1 in one["index"] or -1 in two["index"]:
            return None  # a mean is one more row, not one of them
        return name, {"axis": one["axis"], "index": [one["index"][i] for i in two["index"]]}

    return join


def _cut_again(one: Args, two: Args, shape: Shape) -> Step | None:
    """A larger leaf of which only old values are kept."""
    if one.get("centre") or two.get("starts") or any(n > s for n, s in zip(two["shape"], shape)):
        return None
    return "slice", {"shape": list(two["shape"])}


def _pads(one: Args, two: Args, shape: Shape) -> Step | None:
    return None if one.get("centre") or two.get("centre") else ("pad", dict(two))


def _transposes(one: Args, two: Args, shape: Shape) -> Step:
    return "transpose", {"axes": [one["axes"][i] for i in two["axes"]]}


JOINERS: dict[tuple[str, str], Callable[[Args, Args, Shape], Any]] = {
    ("slice", "slice"): _slices,
    **{(a, b): _gathers("gather") for a in ("gather", "permute") for b in ("gather", "permute")},
    ("permute", "permute"): _gathers("permute"),
    ("widen", "slice"): _cut_again,
    ("widen_spectral", "slice"): _cut_again,
    ("pad", "slice"): _cut_again,
    ("pad", "pad"): _pads,
    ("transpose", "transpose"): _transposes,
    ("reshape", "reshape"): lambda one, two, shape: ("reshape", dict(two)),
}
