"""A variant of `fit` for dense layers that read or write pixels, and for readers of a last layer that moves with the depth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gan_jax.surgery.families.colour import GREY, OPAQUE, RGBA, colour_matrix
from gan_jax.surgery.families.fit import fit
from gan_jax.surgery.ops import Step, shape_of_steps
from gan_jax.surgery.ops.arrays import Args, Shape

OWN = ("fused", "shapes", "fold", "pairs", "units", "side", "reason", "colour", "view", "keep")  # not for `fit`
INTERPOLATED = "pixels interpolated"
SMALLER = {  # side -> why fewer pixels do not preserve the function
    "out": "means of pixels taken before the tanh, exact where they are equal",
    "in": "details of the larger image are no longer seen",
}


def fit_dense(shapes: Sequence[Shape], target: Shape, args: Args) -> tuple[int, list[Step]]:
    """(how many of the sources are read, the steps), as `fit`, whose arguments are understood too.

    Args:
      shapes: of the sources.
      target: shape to reach.
      args: `shapes`: source and target with fused axes taken apart; `fused`: the (start, stop) of axes that the leaf
        holds as one; `side`: of the pixels, `in` or `out`, which are the last or first axes `h w rgb` of one fused
        axis; None = there are none; `fold`: for a reader whose layers go, the value of `fold_dense`, which reads them
        as further sources; `units`: how many units of the axis that is read are kept; `pairs`: the value of
        `in_pairs`; `reason`: why the function is not preserved.
    """
    small, large = (list(view) for view in args["shapes"])
    rest = {key: value for key, value in args.items() if key not in OWN}
    fused, read, steps = args["fused"], 1, []

    def current() -> Shape:
        return shape_of_steps(steps, shapes) if steps else tuple(shapes[0])

    flat = lambda view: [math.prod(view[start:stop]) for start, stop in fused]
    axis = rest.get("inputs", [0])[0]  # of the units that are read, in what reads the last layer

    if "keep" in args:
        for choice in args["keep"]["axes"]:
            small[choice["axis"]] = choice["keep"]
        read, steps = fit(shapes, tuple(flat(small)), {"keep": args["keep"]})
    if "fold" in args:
        read, reason = len(shapes), "layers folded into what reads them, exact where growth made them"
        steps = [("fold_dense", {"axis": axis, "value": args["fold"], "reason": reason})]
        small[axis] = current()[axis]
    if args.get("units", small[axis]) < small[axis]:
        small[axis] = args["units"]
        steps.append(("slice", {"shape": flat(small)}))
    if "pairs" in args:
        steps.append(("in_pairs", {"axis": axis, "value": args["pairs"]}))
        small[axis] *= 2
    steps += _pixels(small, large, args["side"], flat) if args.get("side") else []
    view = {"view": [list(small), list(large)]} if len(fused) != len(large) else {}
    steps += fit([current()], target, {**rest, **view})[1]
    if args.get("reason"):
        steps = [*steps, ("copy", {"reason": args["reason"]})] if not steps else [_because(steps[0], args), *steps[1:]]
    return read, steps


def _because(step: Step, args: Args) -> Step:
    return step[0], {**step[1], "reason": args["reason"]}


def _pixels(small: list[int], large: list[int], side: str, flat: Any) -> list[Step]:
    """The steps over size and colour; `small` becomes what they make of it."""
    at = 0 if side == "in" else len(small) - 3
    if small[at : at + 3] == large[at : at + 3]:
        return []
    steps: list[Step] = [("reshape", {"shape": list(small)})]
    for axis in (at, at + 1):
        new, old = large[axis], small[axis]
        if new != old:
            whole = max(new, old) % min(new, old) == 0
            why = INTERPOLATED if not whole else SMALLER[side] if new < old else ""
            steps.append(("resample", {"axis": axis, "size": new, "side": side, **({"reason": why} if why else {})}))
    new, old = large[at + 2], small[at + 2]
    if new != old:
        alpha = side == "out" and len(small) == 3 and new == RGBA and (old == GREY or old == RGBA - 1)
        offset = {"offset": [0, 0, 0, OPAQUE]} if alpha else {}
        steps.append((f"colour_{side}", {"axis": at + 2, "matrix": colour_matrix(old, new, side), **offset}))
    small[at : at + 3] = large[at : at + 3]
    return [*steps, ("reshape", {"shape": flat(small)})]


RESOLVERS = {"fit_dense": fit_dense}
