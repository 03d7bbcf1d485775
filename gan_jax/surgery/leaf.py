"""The plain leaf functions `(sources, fresh, args) -> array`, and their shape effects `(shapes, args) -> shape`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.surgery.arrays import Args, OpError, Shape, corner, leading, paste, views, wide, xp_of, zeros

# -- shape effects -------------------------------------------------------------------------------


def same_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    return tuple(shapes[0])


def given_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    return tuple(args["shape"])


def larger_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    source, target = views(shapes[0], args)
    if len(source) != len(target) or any(s > t for s, t in zip(source, target)):
        raise OpError(f"{list(source)} does not fit inside {list(target)}; use slice, or fit for a mixture")
    return tuple(args["shape"])


def smaller_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    source, target = views(shapes[0], args)
    if len(source) != len(target) or any(s < t for s, t in zip(source, target)):
        raise OpError(f"{list(target)} is no part of {list(source)}; use widen, or fit for a mixture")
    return tuple(args["shape"])


def kernel_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    shape = tuple(args["shape"])
    if len(shape) < 2 or any(k % 2 == 0 for k in shape[:-2]):
        raise OpError(f"this needs a kernel [.., I, O] with odd sizes before, not {list(shape)}")
    return shape


def tile_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    shape = list(shapes[0])
    shape.insert(args["axis"], args["repeats"])
    return tuple(shape)


def mean_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    return tuple(n for i, n in enumerate(shapes[0]) if i != args["axis"])


def gather_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    shape, axis, index = list(shapes[0]), args["axis"], args["index"]
    if wrong := [i for i in index if not -1 <= i < shape[axis]]:
        raise OpError(
            f"index {wrong[0]} lies outside axis {axis} of {shape}; use 0 to {shape[axis] - 1}, or -1 for the mean"
        )
    shape[axis] = len(index)
    return tuple(shape)


def mix_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    shape, axis, matrix = list(shapes[0]), args["axis"], args["matrix"]
    if shape[axis] != len(matrix[0]):
        raise OpError(f"a mixture of {len(matrix[0])} channels does not fit axis {axis} of {shape}")
    shape[axis] = len(matrix)
    return tuple(shape)


def resize_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    source, target = tuple(shapes[0]), tuple(args["shape"])
    if len(source) < 3 or len(source) != len(target) or source[2:] != target[2:]:
        raise OpError(f"resize changes the two leading axes of a kernel only, not {list(source)} -> {list(target)}")
    return target


# -- leaf functions ------------------------------------------------------------------------------


def copy(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    return sources[0]


def init(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    return fresh


def zero(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    return zeros(fresh, tuple(args["shape"]))


def part(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    view, smaller = views(sources[0].shape, args)
    return sources[0].reshape(view)[leading(smaller)].reshape(tuple(args["shape"]))


def widen(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    return corner(sources[0], fresh, args)


def pad(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """The source among zeros: in the leading corner, or in the middle along the axes named in `centre`."""
    x = sources[0]
    small, large = views(x.shape, args)
    starts = [(t - s) // 2 if i in args.get("centre", ()) else 0 for i, (s, t) in enumerate(zip(small, large))]
    index = tuple(slice(a, a + s) for a, s in zip(starts, small))
    return paste(zeros(x, large), index, x.reshape(small)).reshape(tuple(args["shape"]))


def identity(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """Passes the shared channels on: one tap in the middle."""
    shape = tuple(args["shape"])
    eye = np.zeros(shape)
    eye[tuple(k // 2 for k in shape[:-2])] = np.eye(*shape[-2:])
    return xp_of(fresh).asarray(eye.astype(fresh.dtype))


def tile(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    xp, axis = xp_of(sources[0]), args["axis"]
    return xp.repeat(xp.expand_dims(sources[0], axis), args["repeats"], axis=axis)


def mean(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    return wide(sources[0]).mean(axis=args["axis"]).astype(sources[0].dtype)


def gather(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    x, axis, index = sources[0], args["axis"], args["index"]
    if -1 in index:  # one more row, the mean of all: what -1 then picks
        row = wide(x).mean(axis=axis, keepdims=True).astype(x.dtype)
        x = xp_of(x).concatenate([x, row], axis=axis)
    return xp_of(x).take(x, np.array([i % x.shape[axis] for i in index], np.int32), axis=axis)


def mix(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """New channels along one axis as combinations of the old, `matrix [new, old]`, plus `offset [new]`."""
    x, axis = wide(sources[0]), args["axis"]
    xp = xp_of(x)
    matrix = xp.asarray(np.array(args["matrix"]), dtype=x.dtype)
    out = xp.tensordot(matrix, x, axes=((1,), (axis,)))
    if "offset" in args:
        offset = xp.asarray(np.array(args["offset"]), dtype=x.dtype)
        out = out + offset.reshape(-1, *[1] * (out.ndim - 1))
    return xp.moveaxis(out, 0, axis).astype(sources[0].dtype)


def resize(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """Linear interpolation on the kernel grid. The sum over the grid, its gain on a constant image, stays exactly."""
    x = wide(sources[0])
    (kh, kw), (h, w) = x.shape[:2], args["shape"][:2]
    out = jax.image.resize(jnp.asarray(x), (h, w, *x.shape[2:]), "linear", antialias=True) * (kh * kw / (h * w))
    out = xp_of(x).asarray(out)
    out = out + (x.sum(axis=(0, 1)) - out.sum(axis=(0, 1)))[None, None] / (h * w)
    return out.astype(sources[0].dtype)


def cast(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    return sources[0].astype(np.dtype(args["dtype"]))
