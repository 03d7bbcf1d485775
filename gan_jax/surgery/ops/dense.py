"""Operations on dense layers, and on layers that carry an image through a nonlinearity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from gan_jax.surgery.ops.basic import Args, OpError, Shape, paste, wide, xp_of, zeros
from gan_jax.surgery.ops.grids import along, resize_matrix

# ----------------------------------------------------------------------------------------------------------------------
# Operations on dense layers: what reads or writes pixels at another size, and layers that pass units on or fold away.
#
# | operation | leaf | what stays |
# |---|---|---|
# | `resample` | an axis of pixels | written: images, repeated; read: the logit of an image brought to the old size |
# | `pass_on` | a new layer `[I, O]` | the units before it, behind its activation |
# | `in_pairs` | what reads units that a leaky layer passes on as pairs | the function |
# | `fold_dense` | what reads a layer, and the layer | the function, if the layer were linear |


def image_matrix(new: int, old: int) -> np.ndarray:
    """`[new, old]`: a line of pixels at another size, by repetition, by means, else by linear interpolation."""
    if new % old == 0:
        return np.repeat(np.eye(old), new // old, axis=0)
    if old % new == 0:
        return np.repeat(np.eye(new), old // new, axis=1) * new / old
    return resize_matrix(new, old, "linear")


def resample_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    shape, axis, size = list(shapes[0]), args["axis"], args["size"]
    if not 0 <= axis < len(shape) or size < 1 or args["side"] not in ("in", "out"):
        raise OpError(f"resample needs an axis of {shape}, a size of 1 or more and a side, 'in' or 'out', not {args}")
    shape[axis] = size
    return tuple(shape)


def resample(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """Pixels along one axis at another size, in what writes images (`out`) or reads them (`in`).

    A reader of `size` pixels gives for an image what it gave for that image at the old size.
    """
    x, axis, size = wide(sources[0]), args["axis"], args["size"]
    old = x.shape[axis]
    matrix = image_matrix(size, old) if args["side"] == "out" else image_matrix(old, size).T
    return along(x, matrix, axis).astype(sources[0].dtype)


def pass_on_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    shape, needed = tuple(args["shape"]), [width_of(args[key], args["units"]) for key in ("reads", "writes")]
    if len(shape) != 2 or any(n < m for n, m in zip(shape, needed)):
        raise OpError(f"this needs a kernel [{needed[0]} or more, {needed[1]} or more], not {list(shape)}")
    return shape


def pass_on(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """The first `units` pass a layer, from and to `plain` units or `pairs` of both signs, times `value`; else fresh.

    What passes on reads nothing but these units.
    """
    units, (inputs, outputs) = args["units"], tuple(args["shape"])
    written = width_of(args["writes"], units)
    matrix = args["value"] * signs(args["reads"], units, inputs).T @ signs(args["writes"], units, outputs)
    return paste(fresh, (slice(None), slice(0, written)), matrix[:, :written].astype(fresh.dtype))


def in_pairs_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    return tuple(2 * n if i == args["axis"] else n for i, n in enumerate(shapes[0]))


def in_pairs(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """Reads unit i as units 2 i and 2 i + 1 of opposite signs: weights times `value` and times -`value`."""
    x, axis = wide(sources[0]), args["axis"]
    pairs = xp_of(x).stack([x, -x], axis=axis + 1) * np.asarray(args["value"], x.dtype)
    return pairs.reshape(in_pairs_shape([x.shape], args)).astype(sources[0].dtype)


def fold_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    reader, layers, axis = list(shapes[0]), shapes[1:], args["axis"]
    chain = [*(n for layer in layers for n in layer), reader[axis]]
    if any(len(layer) != 2 for layer in layers) or any(a != b for a, b in zip(chain[1::2], chain[2::2])):
        raise OpError(f"fold_dense needs what reads a layer, then layers one after the other, not {list(shapes)}")
    reader[axis] = chain[0]
    return tuple(reader)


def fold_dense(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """A reader and the layers before it as one reader, as if they were linear, times `value` for each layer."""
    x, axis = wide(sources[0]), args["axis"]
    xp = xp_of(*sources)
    for layer in reversed(sources[1:]):
        product = xp.tensordot(wide(layer), x, axes=((1,), (axis,))) * np.asarray(args["value"], x.dtype)
        x = xp.moveaxis(product, 0, axis)
    return x.astype(sources[0].dtype)


# ----------------------------------------------------------------------------------------------------------------------
# Leaf functions for nets without skips: layers that carry an image through a nonlinearity, and their undoing.
#
# An image channel is carried by two channels, which read it with opposite signs: see `families.dcgan`.


def fill(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """The value everywhere."""
    return zeros(fresh, tuple(args["shape"])) + np.asarray(args["value"], fresh.dtype)


def carry_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    source, target, axis = tuple(shapes[0]), tuple(args["shape"]), args["axis"]
    needed = [2 * n if i == axis else n for i, n in enumerate(source)]
    if axis not in (2, 3) or len(source) != 4 or len(target) != 4 or any(n > t for n, t in zip(needed, target)):
        raise OpError(f"carry makes pairs of axis {axis} of {list(source)}, which needs {needed} in {list(target)}")
    return target


def carry(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """A head as a layer within: image channel c becomes channels 2c and 2c + 1, times `value` and times -`value`.

    Of the outputs that the head had, nothing else is read; other outputs are fresh.
    """
    x, axis = sources[0] * np.asarray(args["value"], sources[0].dtype), args["axis"]
    outputs = x.shape[3] * (2 if axis == 3 else 1)
    out = paste(fresh, (..., slice(0, outputs)), 0)
    for sign in (0, 1):
        pairs = slice(sign, 2 * x.shape[axis], 2)
        index = (slice(None),) * 2 + ((slice(0, x.shape[2]), pairs) if axis == 3 else (pairs, slice(0, x.shape[3])))
        out = paste(out, index, x if sign == 0 else -x)
    return out


def carry_on_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    shape, needed = tuple(args["shape"]), [width_of(args[key], args["channels"]) for key in ("reads", "writes")]
    if len(shape) != 4 or shape[:2] != (4, 4) or any(n < m for n, m in zip(shape[2:], needed)):
        raise OpError(f"this needs a kernel [4, 4, {needed[0]} or more, {needed[1]} or more], not {list(shape)}")
    return shape


def carry_on(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """The middle 2x2 weights pass image channels on, from and to `plain` channels or `pairs`; more outputs are fresh.

    As a transposed convolution of stride 2 this repeats pixels, as a convolution it adds 2x2 of them, times `value`.
    """
    channels = args["channels"]
    inputs, outputs = tuple(args["shape"])[2:]
    matrix = args["value"] * signs(args["reads"], channels, inputs).T @ signs(args["writes"], channels, outputs)
    written = width_of(args["writes"], channels)
    out = paste(fresh, (..., slice(0, written)), 0)
    middle = np.broadcast_to(matrix[:, :written], (2, 2, inputs, written)).astype(fresh.dtype)
    return paste(out, (slice(1, 3), slice(1, 3), slice(None), slice(0, written)), middle)


def fold_head_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    whole = len(shapes) >= 4 and len(shapes) % 3 == 1 and args["side"] in ("in", "out")
    kernels = [i for i in range(len(shapes)) if i == 0 or i % 3 == (0 if args["side"] == "out" else 1)]
    if not whole or any(len(shapes[i]) != 4 for i in kernels):
        raise OpError(
            f"fold_head needs the kernels of a head and of layers, with scale and variance, not {list(shapes)}"
        )
    head, last = shapes[0], shapes[kernels[-1]]
    return (*head[:3], last[3])


def fold_head(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """A head and the layers next to it as one head, as if they were linear: what `carry` and `carry_on` made, undone.

    Sources, in the order in which data pass: for `side` out the kernel of a layer, then scale, variance and the next
    kernel, ..; for in the head, then kernel, scale, variance, ... A nonlinearity counts as its mean slope, a kernel
    beside the one that stays as the sum of its weights.
    """
    first, *rest = [wide(x) for x in sources]
    xp = xp_of(*sources)
    gain = lambda scale, var: scale / xp.sqrt(var + args["epsilon"])
    if args["side"] == "out":
        out = first
        for scale, var, kernel in zip(rest[::3], rest[1::3], rest[2::3]):
            out = out @ (0.5 * gain(scale, var)[:, None] * kernel.sum(axis=(0, 1)) / 4)
        return out.astype(sources[0].dtype)
    matrix = first.sum(axis=(0, 1))
    layers = [
        0.6 * kernel * gain(scale, var)[None, None, None] for kernel, scale, var in zip(*(rest[i::3] for i in range(3)))
    ]
    for kernel in layers[:-1]:
        matrix = matrix @ kernel.sum(axis=(0, 1))
    return xp.einsum("ck,hwko->hwco", matrix, layers[-1]).astype(sources[0].dtype)


def linear_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    if any(len(s) < 2 or math.prod(s[:-2]) != 1 for s in shapes) or any(a[-1] != b[-2] for a, b in pairwise(shapes)):
        raise OpError(
            f"fold_linear needs kernels [1, 1, I, O] or [I, O], each reading what the one before it writes, not {list(shapes)}"
        )
    return (*shapes[0][:-1], shapes[-1][-1])


def fold_linear(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """The product of kernels between which nothing stands, in the order in which data pass them."""
    out = wide(sources[0])
    for kernel in sources[1:]:
        out = out @ wide(kernel).reshape(kernel.shape[-2:])
    return out.astype(sources[0].dtype)


def width_of(kind: str, channels: int) -> int:
    return 2 * channels if kind == "pairs" else channels


def signs(kind: str, channels: int, width: int) -> np.ndarray:
    """`[channels, width]`: which channels hold an image channel, with their sign."""
    out = np.zeros((channels, width))
    for c in range(channels):
        if kind == "pairs":
            out[c, [2 * c, 2 * c + 1]] = 1, -1
        else:
            out[c, c] = 1
    return out
