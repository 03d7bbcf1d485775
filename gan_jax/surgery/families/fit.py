"""Operations that lead from one shape to another, by the role of the leaf."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

from gan_jax.surgery.families.classes import GREY, OPAQUE, RGB, RGBA, class_steps, colour_matrix
from gan_jax.surgery.ops import Step, lookup, shape_of_steps
from gan_jax.surgery.ops.basic import Args, OpError, Shape, views

# ----------------------------------------------------------------------------------------------------------------------
# Variants of `fit` for layers with an equalised learning rate, as `families.stylegan2` has them.
#
# The rules work the numbers out: `gain` is `[old, new]` fan-in (or any other such ratio, under a square root).

EQUALISED_OWN = ("gain", "silent", "opaque", "last", "parts", "condition")  # not for `fit`


def fit_equalised(shapes: Sequence[Shape], target: Shape, args: Args) -> tuple[int, list[Step]]:
    """`fit`, and the factor that keeps weight / sqrt(fan-in).

    Further arguments: `gain`; `silent`: new outputs are zero instead of fresh; `opaque`: the value of new alpha;
    `last`: what the source writes is the last output, all others are zero; `condition`: for the notes.
    """
    between = (*target[:-1], shapes[0][-1]) if args.get("last") else target
    read, steps = fit(shapes, between, _without(args, *EQUALISED_OWN))
    out: list[Step] = []
    for name, arguments in steps:
        arguments = dict(arguments)
        if name == "widen" and args.get("silent"):
            arguments.pop("inputs", None)
            name = "pad"
        if name == "colour_out" and "offset" in arguments:
            arguments["offset"] = [0, 0, 0, args["opaque"]]
        out.append((name, arguments))
    old, new = args.get("gain", (1, 1))
    if old != new:
        note = {"condition": args["condition"]} if "condition" in args else {}
        late = bool(out) and lookup(out[-1][0]).fresh
        out.insert(len(out) - late, ("equalise", {"old": old, "new": new, **note}))
    if args.get("last") and between != target:
        index = [*range(between[-1], target[-1]), *range(between[-1])]
        out += [("pad", {"shape": list(target)}), ("permute", {"axis": len(target) - 1, "index": index})]
    return read, out


def fit_parts(shapes: Sequence[Shape], target: Shape, args: Args) -> tuple[int, list[Step]]:
    """For a kernel whose input axis holds several things: `args["parts"]` are the arguments of that operation."""
    parts = dict(args["parts"])
    outputs = target[-1] if args.get("copies") else min(shapes[0][-1], target[-1])
    between = [target[i] if i != parts["axis"] else n for i, n in enumerate(shapes[0])]
    role = _without(args, *EQUALISED_OWN, "inputs")
    read, steps = fit(shapes, (*between[:-1], outputs), role)
    if parts["old"] == parts["new"] and outputs == target[-1] and set(parts["factors"]) == {1.0}:
        return read, steps
    return read, [*steps, ("parts", {"shape": list(target), **parts})]


EQUALISED_RESOLVERS = {
    "fit_equalised": fit_equalised,
    "fit_parts": fit_parts,
}


# ----------------------------------------------------------------------------------------------------------------------
# A variant of `fit` for dense layers that read or write pixels, and for readers of a last layer that moves with the depth.

DENSE_OWN = ("fused", "shapes", "fold", "pairs", "units", "side", "reason", "colour", "view", "keep")  # not for `fit`
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
    rest = _without(args, *DENSE_OWN)
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


DENSE_RESOLVERS = {"fit_dense": fit_dense}


# ----------------------------------------------------------------------------------------------------------------------
# Variants of `fit` for heads that become layers within, and for layers that are folded into a head.


def fit_carry(shapes: Sequence[Shape], target: Shape, args: Args) -> tuple[int, list[Step]]:
    """A head of another number of image channels and perhaps of copied ones, as a layer within.

    `args["colour"]` is as in `fit`, `channels` how many image channels the layer carries, and `by` the operation that
    makes the layer of a head with so many, and its arguments but for the shape: see `ops.dense.carry` and
    `ops.equalised.carry_head`; where nothing stands between the layers, it is `widen`.
    """
    _, axis = args["colour"]
    other, middle = 5 - axis, [*shapes[0][:2], *target[2:]]
    middle[axis] = args["channels"]
    if "copies" not in args:
        middle[other] = min(shapes[0][other], target[other])
    _, steps = fit(shapes, tuple(middle), {key: args[key] for key in ("colour", "copies") if key in args})
    steps = [("pad", {"shape": a["shape"]}) if name == "widen" else (name, a) for name, a in steps]
    name, arguments = args["by"]
    return 1, [*steps, (name, {"shape": list(target), **arguments})]


def fit_fold(shapes: Sequence[Shape], target: Shape, args: Args) -> tuple[int, list[Step]]:
    """All sources as one head by the operation `args["fold"]` (its name and arguments), then whatever leads to the target."""
    name, arguments = args["fold"]
    steps: list[Step] = [(name, arguments)]
    role = _without(args, "fold")
    return len(shapes), [*steps, *fit_equalised([shape_of_steps(steps, shapes)], target, role)[1]]


def fit_labels(shapes: Sequence[Shape], target: Shape, args: Args) -> tuple[int, list[Step]]:
    """A kernel `[h, w, I, O]` whose inputs are each from old ones by weights `labels` `[new I, old I]`; zeros = unread."""
    rows, role = args["labels"], _without(args, "labels")
    middle = (*shapes[0][:3], min(shapes[0][3], target[3]))
    read, steps = fit(shapes, middle, role)
    kept = [row for row in rows if any(row)]
    if all(sorted(row)[-1] == sum(row) == 1 for row in kept):
        index = [row.index(1) for row in kept]
        steps += [("gather", {"axis": 2, "index": index})] if index != list(range(shapes[0][2])) else []
    else:
        steps.append(("mix", {"axis": 2, "matrix": kept}))
    if len(kept) < len(rows):
        steps.append(("pad", {"shape": [*middle[:2], len(rows), middle[3]]}))
        unread = iter(range(len(kept), len(rows)))
        places = iter(range(len(kept)))
        order = [next(places if any(row) else unread) for row in rows]
        steps += [("permute", {"axis": 2, "index": order})] if order != sorted(order) else []
    rest = {key: value for key, value in role.items() if key != "keep"}
    shape = shape_of_steps(steps, shapes) if steps else tuple(shapes[0])
    return read, [*steps, *fit([shape], target, rest)[1]]


HEAD_RESOLVERS = {"fit_labels": fit_labels, "fit_carry": fit_carry, "fit_fold": fit_fold}


# ----------------------------------------------------------------------------------------------------------------------
# Variants of `fit` for kernels under spectral norm that read several things, images of other colours, or a shifted image.

BIGGAN_OWN = ("shape", "vector", "vector_view", "joined", "image", "reason", "factor", "channels")  # not for `fit`
Resolver = Callable[[Sequence[Shape], Shape, Args], tuple[int, list[Step]]]


def fit_with_reason(shapes: Sequence[Shape], target: Shape, args: Args) -> tuple[int, list[Step]]:
    """`fit`, whose first step says with `reason` why the function is not preserved."""
    read, steps = fit(shapes, target, _without(args, *BIGGAN_OWN))
    (name, arguments), *rest = steps or [("copy", {})]
    return read, [(name, {**arguments, "reason": args["reason"]}), *rest]


def fit_joined(shapes: Sequence[Shape], target: Shape, args: Args) -> tuple[int, list[Step]]:
    """A layer `[I, O]` that reads two things side by side, of `joined` = `[old sizes, new sizes]`: each grows at its end.

    New rows are zero, which the singular value does not see; then new outputs as always.
    """
    role = _without(args, *BIGGAN_OWN, "inputs")
    read, steps = fit(shapes, (shapes[0][0], min(shapes[0][-1], target[-1])), role)
    rest = {key: value for key, value in role.items() if key != "keep"}
    outputs = (shape_of_steps(steps, shapes) if steps else shapes[0])[-1]
    steps = [*steps, *_rows(args["joined"][0], args["joined"][1], outputs)]
    shape = shape_of_steps(steps, shapes) if steps else tuple(shapes[0])
    return read, [*steps, *fit([shape], target, rest)[1]]


def _rows(old: Sequence[int], new: Sequence[int], outputs: int) -> list[Step]:
    """The operations from rows of parts with the sizes `old` to those with the sizes `new`."""
    kept = [min(sizes) for sizes in zip(old, new)]

    def kept_first(sizes: Sequence[int]) -> list[int]:
        """All rows of parts with these sizes: those that are kept, then the others."""
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        index = [start + i for start, n in zip(starts, kept) for i in range(n)]
        return [*index, *(i for i in range(sum(sizes)) if i not in set(index))]

    steps: list[Step] = []
    first = kept_first(old)
    if sum(kept) < sum(old):
        steps += [("permute", {"axis": 0, "index": first})] if first != sorted(first) else []
        steps.append(("slice", {"shape": [sum(kept), outputs]}))
    if sum(kept) < sum(new):
        steps.append(("pad", {"shape": [sum(new), outputs]}))
        order = kept_first(new)  # where each row goes
        back = sorted(range(len(order)), key=order.__getitem__)
        steps += [("permute", {"axis": 0, "index": back})] if back != sorted(back) else []
    return steps


def fit_reader(shapes: Sequence[Shape], target: Shape, args: Args) -> tuple[int, list[Step]]:
    """A kernel that reads an image, of `image` = `[old, new]` channels, or channels whose first ones hold an image."""
    role = _without(args, *BIGGAN_OWN, "colour")
    old, new = args["image"]
    middle = (*shapes[0][:2], min(shapes[0][2], old), min(shapes[0][-1], target[-1]))
    read, steps = fit(shapes, middle, {key: value for key, value in role.items() if key not in ("inputs", "spectral")})
    if old != new:
        matrix = grey_weights(new) if old == GREY else colour_matrix(old, new, "in")
        steps = [*steps, ("colour_in", {"axis": 2, "matrix": matrix})]
    rest = {key: value for key, value in role.items() if key != "keep"}
    shape = shape_of_steps(steps, shapes) if steps else tuple(shapes[0])
    return read, [*steps, *fit([shape], target, {**rest, "inputs": [2]})[1]]


def grey_weights(channels: int) -> list[list[float]]:
    """How a grey reader sees colours `[channels, 1]`: weights whose sum and whose sum of squares are 1, alpha unread.

    So that a grey image is read as before, and the kernel's largest singular value stays.
    """
    if channels in (3, RGBA):
        return [[2 / 3], [2 / 3], [-1 / 3], [0.0]][:channels]
    return [[1.0], *([0.0] for _ in range(channels - 1))]


def fit_shifted(shapes: Sequence[Shape], target: Shape, args: Args) -> tuple[int, list[Step]]:
    """A bias beside a kernel (and its singular vector) whose first `channels` inputs are 1 more: see `ops.shift`."""
    about = {key: args[key] for key in ("factor", "channels", "reason") if key in args}
    return 3, [("shift", about), *fit(shapes[:1], target, _without(args, *BIGGAN_OWN))[1]]


KERNELS: dict[str, Resolver] = {"fit_with_reason": fit_with_reason, "fit_joined": fit_joined, "fit_reader": fit_reader}
BIGGAN_RESOLVERS: dict[str, Resolver] = {**KERNELS, "fit_shifted": fit_shifted}


# ----------------------------------------------------------------------------------------------------------------------
# `fit`, for leaves without a variant of their own, and its parts.


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


def _without(args: Args, *names: str) -> dict[str, Any]:
    """The arguments for another operation, without those that only the caller knows."""
    return {key: value for key, value in args.items() if key not in names}


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


# ----------------------------------------------------------------------------------------------------------------------
# Operations that need more than one source for `fit`, and the table of all.


def fit_vector(shapes: Sequence[Shape], target: Shape, args: Args, by: Resolver = fit) -> tuple[int, list[Step]]:
    """As `fit`, for the singular vector `u` that belongs to the kernel given as second source.

    `args["shape"]` is the kernel's target shape, the other arguments are the kernel's role. Zeros extend the vector
    of a kernel that only became wider; any other change needs a new vector, unless the old one (its channels chosen
    by `args["vector"]`, where the kernel's are) is stretched as far as it was. `by` is what the kernel is fitted by.
    """
    read, steps = _kernel(shapes[1:], args, by)
    if not steps:
        view = {"view": args["vector_view"]} if "vector_view" in args else {}
        return 1, [("pad", {"shape": list(target), **view})] if shapes[0] != target else []
    out: list[Step] = [("singular_vector", {"steps": [list(step) for step in steps], **select_of(args, steps)})]
    if (shape := shape_of_steps(out, shapes)) != target:
        view = (
            [[*args["vector_view"][1][:-1], shape[0] * args["vector_view"][1][-1] // target[0]]]
            if ("vector_view" in args)
            else []
        )
        out.append(("pad", {"shape": list(target), **({"view": [*view, args["vector_view"][1]]} if view else {})}))
    return 1 + read, out


def fit_gain(shapes: Sequence[Shape], target: Shape, args: Args) -> tuple[int, list[Step]]:
    """For the gain `[]` of a kernel under spectral norm: sources gain, singular vector, kernel, and what it reads.

    The arguments are those of `fit_vector`. Where the kernel's singular value changes, the gain makes up for it; it is
    worked out as the layer does where that has `refine`; with `alone` there is no old gain among the sources.
    """
    before = 1 if args.get("alone") else 2
    read, steps = _kernel(shapes[before:], args)
    if not steps:
        return 1, []
    how = {key: True for key in ("refine", "alone") if args.get(key)}
    return before + read, [("regain", {"steps": [list(step) for step in steps], **select_of(args, steps), **how})]


def _kernel(shapes: Sequence[Shape], args: Args, by: Resolver = fit) -> tuple[int, list[Step]]:
    """The steps of a kernel that may change its singular value."""
    role = _without(args, *VECTOR_OWN)
    read, steps = by(shapes, tuple(args["shape"]), role)
    return read, [step for step in steps if not lookup(step[0]).fresh]


def select_of(args: Args, steps: Sequence[Step]) -> dict[str, object]:
    """How a vector's own channels are chosen: by importance, or as those of its kernel, whose last axis they are."""
    if args.get("vector"):
        arguments = dict(args["vector"])
        fused = {"shape": [math.prod(arguments["view"][1])]} if "view" in arguments else {}
        return {"select": [["important", {**arguments, **fused}]]}
    last = len(args["shape"]) - 1
    parts = len(args["vector_view"][0]) if "vector_view" in args else 1
    chosen: list[list[object]] = []
    for name, arguments in steps:
        if name == "gather" and arguments["axis"] == last:
            chosen.append([name, {**arguments, "axis": 0}])
        elif name == "slice" and "starts" not in arguments:
            view = {"view": [list(sizes)[-parts:] for sizes in arguments["view"]]} if "view" in arguments else {}
            chosen.append([name, {"shape": list(arguments["shape"])[-1:], **view}])
    return {"select": chosen} if chosen else {}


VECTOR_OWN = ("shape", "vector", "vector_view", "refine", "alone")  # not for `fit`


RESOLVERS: dict[str, Resolver] = {
    "fit": fit,
    "fit_vector": fit_vector,
    "fit_gain": fit_gain,
    **EQUALISED_RESOLVERS,
    **DENSE_RESOLVERS,
    **HEAD_RESOLVERS,
    **BIGGAN_RESOLVERS,
    **{f"{name}_vector": functools.partial(fit_vector, by=by) for name, by in KERNELS.items()},
}
