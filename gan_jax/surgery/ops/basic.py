"""The basic leaf functions `(sources, fresh, args) -> array`, and their effects on shapes `(shapes, args) -> shape`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.random_streams import path_number
from gan_jax.trees import TreeError

# ----------------------------------------------------------------------------------------------------------------------
# Array helpers that keep NumPy in NumPy and JAX in JAX.

Shape = tuple[int, ...]
Args = Mapping[str, Any]


class OpError(TreeError):
    """An operation does not fit the shapes that it was given; the message names both."""


def xp_of(*arrays: Any) -> Any:
    """`jax.numpy` where any array is JAX's (or traced), else `numpy`."""
    return jnp if any(isinstance(a, jax.Array) for a in arrays) else np


def wide(x: Any) -> Any:
    """Half-precision values as float32, for arithmetic; others as they are."""
    return x.astype(np.float32) if x.dtype.itemsize < 4 else x


def zeros(like: Any, shape: Shape) -> Any:
    """Zeros of the kind and dtype of `like`."""
    return xp_of(like).zeros(shape, like.dtype)


def leading(shape: Sequence[int]) -> tuple[slice, ...]:
    """The index of the leading corner of this shape."""
    return tuple(slice(0, n) for n in shape)


def paste(x: Any, index: Any, value: Any) -> Any:
    """A copy of `x` with `x[index] = value`."""
    if isinstance(x, jax.Array) or isinstance(value, jax.Array):
        return jnp.asarray(x).at[index].set(value)
    out = np.array(x)
    out[index] = value
    return out


def views(shape: Shape, args: Args) -> tuple[Shape, Shape]:
    """The shapes in which source and result are compared axis by axis.

    `args["view"]` unfolds fused axes on both sides, such as `[z, 16 C]` to `[z, 4, 4, C]`.
    """
    source, target = args.get("view", (shape, args["shape"]))
    if math.prod(source) != math.prod(shape) or math.prod(target) != math.prod(args["shape"]):
        raise OpError(f"view {list(source)} -> {list(target)} does not hold {list(shape)} -> {list(args['shape'])}")
    return tuple(source), tuple(target)


def corner(x: Any, fresh: Any, args: Args) -> Any:
    """`x` in the leading corner of `args["shape"]`.

    New positions along the axes in `args["inputs"]` feed old outputs with zero; all else is `fresh`.
    """
    small, large = views(x.shape, args)
    inputs = {axis % len(large) for axis in args.get("inputs", ())}
    old_outputs = leading([t if i in inputs else s for i, (s, t) in enumerate(zip(small, large))])
    out = paste(fresh.reshape(large), old_outputs, 0)
    return paste(out, leading(small), x.reshape(small)).reshape(tuple(args["shape"]))


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
    starts = args.get("starts", [0] * len(source))
    if len(starts) != len(source) or any(a < 0 or a + t > s for a, s, t in zip(starts, source, target)):
        raise OpError(f"{list(target)} from {list(starts)} on lies outside {list(source)}")
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


def mix_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    shape, axis, matrix = list(shapes[0]), args["axis"], args["matrix"]
    if shape[axis] != len(matrix[0]):
        raise OpError(f"a mixture of {len(matrix[0])} channels does not fit axis {axis} of {shape}")
    shape[axis] = len(matrix)
    return tuple(shape)


def noise_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    for name in ("std", "seed", "salt"):
        args[name]  # each has to be there: a draw that cannot be repeated is no plan
    if args["std"] < 0:
        raise OpError(f"std is {args['std']}; use 0 or more")
    return tuple(shapes[0])


def scale_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    if not math.isfinite(args["factor"]):
        raise OpError(f"factor is {args['factor']}; use a finite number")
    return tuple(shapes[0])


def matrix_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    if len(shapes[0]) < 2:
        raise OpError(f"this needs a kernel [.., I, O], not {list(shapes[0])}")
    return tuple(shapes[0])


def output_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    return matrix_shape(shapes, args)[-1:]


# -- leaf functions ------------------------------------------------------------------------------


def copy(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    return sources[0]


def init(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    return fresh


def zero(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    return zeros(fresh, tuple(args["shape"]))


def part(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """The part that begins at `args["starts"]` along each axis of the view, by default at 0."""
    view, smaller = views(sources[0].shape, args)
    index = tuple(slice(a, a + n) for a, n in zip(args.get("starts", [0] * len(view)), smaller))
    return sources[0].reshape(view)[index].reshape(tuple(args["shape"]))


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
    """Passes the shared channels on: one tap in the middle. With `index`, output j passes on channel `index[j]`."""
    shape = tuple(args["shape"])
    eye = np.zeros(shape)
    middle = np.eye(*shape[-2:]) if "index" not in args else np.eye(shape[-2])[:, args["index"]]
    eye[tuple(k // 2 for k in shape[:-2])] = middle
    return xp_of(fresh).asarray(eye.astype(fresh.dtype))


def tile(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    xp, axis = xp_of(sources[0]), args["axis"]
    return xp.repeat(xp.expand_dims(sources[0], axis), args["repeats"], axis=axis)


def mean(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    return wide(sources[0]).mean(axis=args["axis"]).astype(sources[0].dtype)


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


def cast(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    return sources[0].astype(np.dtype(args["dtype"]))


def noise(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """Adds normal noise of `std`, drawn by NumPy from `seed` and the text `salt`: the same on every machine.

    With `relative`, `std` is in units of the leaf's own standard deviation.
    """
    x = wide(sources[0])
    draw = np.random.default_rng([args["seed"], path_number(args["salt"])]).standard_normal(x.shape)
    size = x.std() if args.get("relative") else 1
    return (x + (draw * args["std"]).astype(x.dtype) * size).astype(sources[0].dtype)


def scale(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    x = wide(sources[0])
    return (x * np.array(args["factor"], x.dtype)).astype(sources[0].dtype)


def unit(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """The kernel divided by its largest singular value: what a spectrally normalised layer computes with."""
    x = wide(sources[0])
    xp = xp_of(x)
    size = xp.linalg.svd(x.reshape(-1, x.shape[-1]), compute_uv=False)[0]
    return (x / xp.maximum(size, np.array(1e-12, x.dtype))).astype(sources[0].dtype)
