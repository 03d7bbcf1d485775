"""Operations that join, split, transpose and select; no value changes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gan_jax.surgery.ops.basic import Args, OpError, Shape, wide, xp_of

# ----------------------------------------------------------------------------------------------------------------------
# Operations that put leaves together, take them apart and turn their axes; no value changes.


def _axis(args: Args, rank: int) -> int:
    axis = args["axis"]
    if not -rank <= axis < rank:
        raise OpError(f"there is no axis {axis} among {rank}; use 0 to {rank - 1}")
    return axis % rank


def concatenate_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    axis = _axis(args, len(shapes[0]))
    rest = lambda shape: (*shape[:axis], *shape[axis + 1 :])
    for shape in shapes[1:]:
        if len(shape) != len(shapes[0]) or rest(shape) != rest(shapes[0]):
            raise OpError(f"{list(shapes[0])} and {list(shape)} differ in more than axis {axis}")
    return (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])


def concatenate(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    return xp_of(*sources).concatenate(list(sources), axis=args["axis"])


def stack_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    same_shapes(shapes)
    axis = _axis(args, len(shapes[0]) + 1)
    return (*shapes[0][:axis], len(shapes), *shapes[0][axis:])


def stack(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    return xp_of(*sources).stack(list(sources), axis=args["axis"])


def same_shapes(shapes: Sequence[Shape], args: Args | None = None) -> Shape:
    """The one shape that all sources have."""
    for shape in shapes[1:]:
        if shape != shapes[0]:
            raise OpError(f"the sources are {list(shapes[0])} and {list(shape)}; they must have one shape")
    return tuple(shapes[0])


def average_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    if len(args.get("weights", shapes)) != len(shapes):
        raise OpError(f"{len(args['weights'])} weights for {len(shapes)} source leaves; give one for each")
    return same_shapes(shapes)


def average(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """The mean of the sources, or their sum with `args["weights"]`."""
    weights = args.get("weights", [1 / len(sources)] * len(sources))
    total = sum(wide(x) * np.array(w, wide(x).dtype) for x, w in zip(sources[1:], weights[1:]))
    return (wide(sources[0]) * np.array(weights[0], wide(sources[0]).dtype) + total).astype(sources[0].dtype)


def _parts(shape: Shape, args: Args) -> list[int]:
    """Sizes of the parts along the axis: equal ones (`parts` many), or `sizes`."""
    size = shape[_axis(args, len(shape))]
    if "sizes" in args:
        if sum(args["sizes"]) != size:
            raise OpError(f"parts of {list(args['sizes'])} do not make up axis {args['axis']} of {list(shape)}")
        return list(args["sizes"])
    if args["parts"] < 1 or size % args["parts"]:
        raise OpError(f"axis {args['axis']} of {list(shape)} has no {args['parts']} equal parts; give their sizes")
    return [size // args["parts"]] * args["parts"]


def split_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    parts, axis = _parts(tuple(shapes[0]), args), _axis(args, len(shapes[0]))
    if not 0 <= args["index"] < len(parts):
        raise OpError(f"there is no part {args['index']} of {len(parts)}; use 0 to {len(parts) - 1}")
    return (*shapes[0][:axis], parts[args["index"]], *shapes[0][axis + 1 :])


def split(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    parts, axis = _parts(sources[0].shape, args), _axis(args, sources[0].ndim)
    start = sum(parts[: args["index"]])
    return sources[0][(slice(None),) * axis + (slice(start, start + parts[args["index"]]),)]


def unstack_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    axis = _axis(args, len(shapes[0]))
    if not 0 <= args["index"] < shapes[0][axis]:
        raise OpError(f"there is no part {args['index']} along axis {axis} of {list(shapes[0])}")
    return (*shapes[0][:axis], *shapes[0][axis + 1 :])


def unstack(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    return sources[0][(slice(None),) * _axis(args, sources[0].ndim) + (args["index"],)]


def transpose_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    axes = args["axes"]
    if sorted(axes) != list(range(len(shapes[0]))):
        raise OpError(f"{list(axes)} is no order of the {len(shapes[0])} axes of {list(shapes[0])}")
    return tuple(shapes[0][i] for i in axes)


def transpose(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    return sources[0].transpose(tuple(args["axes"]))


def reshape_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    if math.prod(args["shape"]) != math.prod(shapes[0]):
        raise OpError(f"{list(shapes[0])} does not reshape to {list(args['shape'])}: another number of values")
    return tuple(args["shape"])


def reshape(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    return sources[0].reshape(tuple(args["shape"]))


# ----------------------------------------------------------------------------------------------------------------------
# Operations that choose channels along axes: by index, by a permutation, or by strength.
#
# Fused axes are taken apart by `args["view"] = [source view, target view]`, as everywhere; then `args["shape"]` says
# what the parts fuse to again.


def unfolded(shape: Shape, args: Args) -> Shape:
    """The shape of a source with fused axes taken apart."""
    view = tuple(args["view"][0]) if "view" in args else tuple(shape)
    if np.prod(view) != np.prod(shape):
        raise OpError(f"view {list(view)} does not hold {list(shape)}")
    return view


def folded(shape: Shape, args: Args) -> Shape:
    """The shape of the result whose parts are `made`."""
    if "view" not in args:
        return shape
    if shape != tuple(args["view"][1]) or np.prod(shape) != np.prod(args["shape"]):
        raise OpError(f"this makes {list(shape)}, not view {list(args['view'][1])} of {list(args['shape'])}")
    return tuple(args["shape"])


def _selected_axis(axis: int, shape: Shape) -> int:
    if not -len(shape) <= axis < len(shape):
        raise OpError(f"there is no axis {axis} in {list(shape)}; use 0 to {len(shape) - 1}")
    return axis % len(shape)


# -- by index ------------------------------------------------------------------------------------


def gather_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    shape, index = list(unfolded(shapes[0], args)), args["index"]
    axis = _selected_axis(args["axis"], tuple(shape))
    if wrong := [i for i in index if not -1 <= i < shape[axis]]:
        raise OpError(
            f"index {wrong[0]} lies outside axis {axis} of {shape}; use 0 to {shape[axis] - 1}, or -1 for the mean"
        )
    shape[axis] = len(index)
    return folded(tuple(shape), args)


def gather(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    x, axis, index = sources[0].reshape(unfolded(sources[0].shape, args)), args["axis"], args["index"]
    if -1 in index:  # one more row, the mean of all: what -1 then picks
        row = wide(x).mean(axis=axis, keepdims=True).astype(x.dtype)
        x = xp_of(x).concatenate([x, row], axis=axis)
    out = xp_of(x).take(x, np.array([i % x.shape[axis] for i in index], np.int32), axis=axis)
    return out.reshape(folded(out.shape, args))


def permute_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    shape = gather_shape(shapes, args)
    size = unfolded(shapes[0], args)[args["axis"]]
    if sorted(args["index"]) != list(range(size)):
        raise OpError(f"{list(args['index'])} is no permutation: each of 0 to {size - 1} once; use gather for a choice")
    return shape


# -- by strength ---------------------------------------------------------------------------------


def check_keep(keep: int, axis: int, shape: Sequence[int]) -> None:
    """Raises OpError unless an axis has as many channels as are to stay."""
    size = shape[axis]
    if not 0 < keep <= size:
        raise OpError(f"keep {keep} of the {size} channels along axis {axis} of {list(shape)}; use 1 to {size}")


def keep_best(x: Any, scores: Any, keep: int, axis: int) -> Any:
    """The channels with the highest scores, in their order; equal scores go to the lower index."""
    xp = xp_of(x, scores)
    best = xp.argsort(-scores, stable=True)[:keep]
    return xp.take(x, xp.sort(best), axis=axis)


def strongest_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    shape = list(unfolded(shapes[0], args))
    for choice in args["axes"]:
        axis, keep = _selected_axis(choice["axis"], tuple(shape)), choice["keep"]
        size = shape[axis]
        check_keep(keep, axis, shape)
        if not choice["scores"]:
            raise OpError(f"axis {axis} has no scores; name [source, axis] pairs that number the same channels")
        for source, where in choice["scores"]:
            if not 0 <= source < len(shapes):
                raise OpError(f"scores name source {source}, but there are {len(shapes)}; the leaf itself is 0")
            scorer = _scorer(source, shapes[source], args)
            if scorer[_selected_axis(where, scorer)] != size:
                raise OpError(
                    f"axis {where} of source {source} {list(scorer)} does not number the {size} channels of axis {axis}"
                )
        shape[axis] = keep
    return folded(tuple(shape), args)


def strongest(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """Keeps the channels with the largest norm, in their order.

    `args["axes"]` has, for each axis: `keep`, how many stay, and `scores`, pairs of (source, its axis) that number the
    same channels; the squared norms of all of them add. Source 0 is the leaf itself. Leaves of one channel group whose
    scores name the same arrays keep the same channels; equal scores go to the lower index. `args["views"]` takes the
    axes of other sources apart, by their number as text.
    """
    x = out = sources[0].reshape(unfolded(sources[0].shape, args))
    xp = xp_of(*sources)
    for choice in args["axes"]:
        total = 0.0
        for source, where in choice["scores"]:
            array = x if source == 0 else sources[source]
            array = array.reshape(_scorer(source, sources[source].shape, args))
            # Rounding must not let two leaves of a group choose differently: wide sums wherever NumPy makes them.
            array = wide(array) if xp is not np else array.astype(np.float64)
            where = where % array.ndim
            total = total + (array * array).sum(axis=tuple(i for i in range(array.ndim) if i != where))
        out = keep_best(out, xp.asarray(total), choice["keep"], choice["axis"])
    return out.reshape(folded(out.shape, args))


def shifted(args: Args) -> dict[str, Any]:
    """The arguments of `strongest` for sources with one more in front: a moment that keeps what its leaf keeps.

    Those of `important` too.
    """
    if "layout" in args:
        return {**args, "layout": [None, *args["layout"]]}
    later = lambda pairs: [[source + 1, axis] for source, axis in pairs]
    views = {str(int(k) + 1): v for k, v in args.get("views", {}).items()}
    if "view" in args:
        views["1"] = list(args["view"][0])
    axes = [{**choice, "scores": later(choice["scores"])} for choice in args["axes"]]
    return {**args, "axes": axes, **({"views": views} if views else {})}


def _scorer(source: int, shape: Shape, args: Mapping[str, Any]) -> Shape:
    if source == 0:
        return unfolded(shape, args)
    return unfolded(shape, {"view": [args["views"][str(source)]]} if str(source) in args.get("views", {}) else {})
