"""Operations that put leaves together, take them apart and turn their axes; no value changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gan_jax.surgery.ops.arrays import Args, OpError, Shape, wide, xp_of


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
