"""Operations from a leaf of one family to the leaf of the same role in another."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gan_jax.surgery.families.cross_parts import POSITIONS
from gan_jax.surgery.families.fit import fit
from gan_jax.surgery.ops import Step, lookup, shape_of_steps
from gan_jax.surgery.ops.arrays import Args, OpError, Shape

# role, without its resolution -> the arguments of `across`
KINDS: dict[str, Mapping[str, Any]] = {
    "stem": {"inputs": [0], "fused": True},
    "const": {"fused": True},
    "up": {"inputs": [2], "resample": "fuse_up"},
    "same": {"inputs": [2]},
    "skip": {"inputs": [2]},
    "to_rgb": {"inputs": [2], "resample": "fuse_up", "colour": ("out", 3)},
    "down": {"inputs": [2], "resample": "fuse_down"},
    "from_rgb": {"inputs": [2], "resample": "fuse_down", "colour": ("in", 2)},
    "head": {"inputs": [1], "heads": "positions"},
}


def across(shapes: Sequence[Shape], target: Shape, args: Args) -> tuple[int, list[Step]]:
    """As `fit`, for a leaf of another family.

    Args:
      shapes: of the sources; all are read.
      target: shape to reach.
      args: those of `fit`, and `unit`: the source's kernel is divided by its largest singular value; `gives`: the steps
        from the sources to the plain form (`families.cross_parts`); `takes`: from there to the form of the target;
        `limit`: `[axis, n]`, of an axis that holds more than channels; `resample`: the operation between a kernel
        beside a resampling and one that resamples; `fused`: the last axis holds positions and channels; `heads`:
        `positions` where the first axis does, `mean` where it does not any more: the weights of all for one.
    """
    steps: list[Step] = []

    def current() -> Shape:
        return shape_of_steps(steps, shapes) if steps else tuple(shapes[0])

    role = {key: args[key] for key in ("inputs", "colour", "classes", "spectral") if key in args}
    if args.get("unit"):
        steps.append(("unit", {}))
    steps += [(name, arguments) for name, arguments in (*args.get("gives", ()), *args.get("takes", ()))]
    if "limit" in args:
        axis, n = args["limit"]
        if (shape := list(current()))[axis] > n:
            shape[axis] = n
            steps.append(("slice", {"shape": shape}))
    if "resample" in args:
        steps += _resampled(current(), target, args["resample"])
    if "fused" in args:
        steps += _fused(current(), target)
        if len(target) < 3:
            role["view"] = [_by_position(shape, len(shape) - 1) for shape in (current(), target)]
    if args.get("heads") == "positions":
        role["view"] = [_by_position(shape, 0) for shape in (current(), target)]
    elif args.get("heads") == "mean":
        width, outputs = current()
        steps.append(("reshape", {"shape": [POSITIONS, width // POSITIONS, outputs]}))
        steps.append(("mean", {"axis": 0}))
    return len(shapes), [*steps, *fit([current()], target, role)[1]]


def across_vector(shapes: Sequence[Shape], target: Shape, args: Args) -> tuple[int, list[Step]]:
    """The singular vector of a kernel that `across` makes, from that kernel's source; `args["shape"]` is the kernel's."""
    _, steps = across(shapes, tuple(args["shape"]), {k: v for k, v in args.items() if k != "shape"})
    steps = [*(step for step in steps if not lookup(step[0]).fresh), ("top_vector", {})]
    reached = shape_of_steps(steps, shapes)
    view = {"view": [_by_position(reached, 0), _by_position(target, 0)]} if "fused" in args else {}
    return len(shapes), steps if reached == target else [*steps, ("pad", {"shape": list(target), **view})]


def _resampled(shape: Shape, target: Shape, name: str) -> list[Step]:
    """From an odd kernel beside a resampling to an even one that resamples, or back; sizes that differ else are `fit`'s."""
    if len(shape) != 4 or len(target) != 4:
        raise OpError(f"{list(shape)} -> {list(target)} are no kernels [k, k, I, O]")
    old, new = shape[0], target[0]
    if (old - new) % 2 == 0:
        return []
    if old % 2:
        size = max(new, old + 1)
        fused: list[Step] = [(name, {"shape": [size, size, *shape[2:]]})]
        middle = {"shape": [new, new, *shape[2:]], "starts": [(size - new) // 2] * 2 + [0, 0]}
        return fused if size == new else [*fused, ("slice", middle)]
    size = min(new, old - 1)
    return [(name, {"shape": [size, size, *shape[2:]]})]


def _by_position(shape: Shape, axis: int) -> list[int]:
    """The shape with positions and channels along this axis taken apart."""
    sizes = [*shape]
    return [*sizes[:axis], POSITIONS, sizes[axis] // POSITIONS, *sizes[axis + 1 :]]


def _fused(shape: Shape, target: Shape) -> list[Step]:
    """From maps `[4, 4, C]` to the bias `[(4 4 C)]` of a dense layer, or back."""
    if len(shape) == 3 and len(target) == 1:
        return [("reshape", {"shape": [math.prod(shape)]})]
    return (
        [("reshape", {"shape": [*target[:2], shape[0] // POSITIONS]})] if len(shape) == 1 and len(target) == 3 else []
    )


RESOLVERS: dict[str, Callable[[Sequence[Shape], Shape, Args], tuple[int, list[Step]]]] = {
    "across": across,
    "across_vector": across_vector,
}
