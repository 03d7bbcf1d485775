"""Operations that lead from one shape to another, by the role of the leaf."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gan_jax.surgery.families.classes import class_steps
from gan_jax.surgery.families.colour import GREY, OPAQUE, RGB, RGBA, colour_matrix
from gan_jax.surgery.ops import Step, shape_of_steps
from gan_jax.surgery.ops.arrays import Args, OpError, Shape, views


def fit(shapes: Sequence[Shape], target: Shape, args: Args) -> tuple[int, list[Step]]:
    """(how many of the sources are read, the steps from the first source's shape to the target's).

    Args:
      shapes: of the sources.
      target: shape to reach.
      args: the leaf's role. `inputs`: axes of input channels, where new ones feed old outputs with zero; `colour`:
        `("in" | "out", axis)` of image channels; `classes`: for leaves with a class axis 0, which source class each
        target class starts from (-1 = their mean); `view`: `[source, target]` shapes with fused axes unfolded;
        `spectral`: the kernel is divided by its largest singular value; `copies`: the axes of `duplicate`; `keep`:
        the arguments of `important`, which then reads all sources.

    Raises:
      OpError: no operation reaches the target.
    """
    shape, steps = tuple(shapes[0]), []

    def add(name: str, **step_args: Any) -> None:
        nonlocal shape
        steps.append((name, step_args))
        shape = shape_of_steps(steps[-1:], [shape])

    if "keep" in args:
        keep = dict(args["keep"])
        if "view" in keep:
            keep["shape"] = _fold(keep["view"][1], keep["view"][0], shape)
        steps.append(("important", keep))
        shape = shape_of_steps(steps, shapes)
    for step in _classes(shape, target, args):
        add(step[0], **step[1])
    if len(shape) != len(target):
        raise OpError(f"{list(shape)} and {list(target)} differ in rank; name an operation for this leaf")
    side, axis = args.get("colour", ("in", None))
    if axis is not None and shape[axis] != target[axis]:
        whole_grey = side == "in" and args.get("spectral") and shape[axis] == GREY
        if (
            whole_grey and target[-1] >= RGB and target[axis] in (RGB, RGBA)
        ):  # its singular value is kept by an operation of its own
            if shape[-1] > target[-1]:
                add("slice", shape=[*shape[:-1], target[-1]])
            add("colour_spectral", shape=list(target))
        elif not (side == "in" and (shape[axis], target[axis]) == (RGB, RGBA)):  # there, widen's zeros are all
            matrix = colour_matrix(shape[axis], target[axis], side, args.get("beside", "zero"))
            new_alpha = side == "out" and len(shape) == 1 and shape[axis] < target[axis] == RGBA
            add(f"colour_{side}", axis=axis, matrix=matrix, **({"offset": [0, 0, 0, OPAQUE]} if new_alpha else {}))
    if len(target) == 4 and shape[:2] != target[:2] and "view" not in args:
        if all(s <= t and (t - s) % 2 == 0 for s, t in zip(shape[:2], target[:2])):
            add("pad", shape=[*target[:2], *shape[2:]], centre=[0, 1])
        else:
            add("resize", shape=[*target[:2], *shape[2:]])
    small, large = views(shape, {"shape": target, **({"view": args["view"]} if "view" in args else {})})
    if args.get("copies"):
        copied = list(small)
        for choice in args["copies"]:
            copied[choice["axis"]] = len(choice["index"])
        view = {"view": [list(small), copied], "shape": _fold(copied, small, shape)} if "view" in args else {}
        add("duplicate", axes=list(args["copies"]), **view)
        small = tuple(copied)
    between = tuple(map(min, small, large))
    if between != small:
        folded = _fold(between, small, shape)
        add("slice", shape=folded, **({"view": [list(small), list(between)]} if "view" in args else {}))
    if between != large:
        spectral = bool(args.get("spectral")) and large[-1] > between[-1]
        inputs = {"inputs": list(args["inputs"])} if args.get("inputs") else {}
        view = {"view": [list(between), list(large)]} if "view" in args else {}
        add("widen_spectral" if spectral else "widen", shape=list(target), **inputs, **view)
    return len(shapes) if "keep" in args else 1, steps


def _classes(shape: Shape, target: Shape, args: Args) -> list[Step]:
    """Steps over the class axis, of leaves that are `[classes, C]` where conditional and `[C]` where not.

    It is axis 0 unless `args["class_axis"]` says another.
    """
    if "classes" not in args or len(shape) == len(target) == 1:
        return []
    if len(shape) < len(target):
        return [("tile", {"axis": 0, "repeats": target[0]})]
    if len(shape) > len(target):
        return [("mean", {"axis": 0})]
    classes, axis = args["classes"], args.get("class_axis", 0)
    if classes is None and shape[axis] != target[axis]:
        raise OpError(
            f"{shape[axis]} source classes, {target[axis]} target classes: say which source class each starts from, "
            "classes=(0, 3, -1, ..); -1 is the mean of all"
        )
    steps = [] if classes is None else class_steps(classes, shape[axis], target[axis])
    return [(name, {**arguments, "axis": axis}) for name, arguments in steps]


def _fold(shape: Sequence[int], view: Sequence[int], folded: Sequence[int]) -> list[int]:
    """Fuses the axes of `shape` in the groups in which `view` fuses to `folded`."""
    out, axes = [], list(zip(shape, view))
    for size in folded:
        group = [axes.pop(0)]
        while math.prod(v for _, v in group) < size:
            group.append(axes.pop(0))
        out.append(math.prod(s for s, _ in group))
    out[-1] *= math.prod(s for s, _ in axes)  # axes of size 1 at the end, which no size asks for
    return out
