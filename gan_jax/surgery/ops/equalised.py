"""Leaf functions for layers with an equalised learning rate, whose stored weights are divided by sqrt(fan-in) in use.

A slope of 0.2 on both sides of zero is 1.2 in all: `lrelu(p) - lrelu(-p) = 1.2 p`. So two channels carry an image
channel through a layer, and on average, at a slope of 0.6 each, a layer is linear.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gan_jax.surgery.ops.arrays import Args, OpError, Shape, paste, wide, xp_of
from gan_jax.surgery.ops.heads import signs, width_of

CARRIED = 1.2 * math.sqrt(2)  # of p by the pair lrelu(p), lrelu(-p), with the sqrt(2) that follows a leaky ReLU


def equalise_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    if min(args["old"], args["new"]) <= 0:
        raise OpError(f"fan-ins are above 0, not {args['old']} and {args['new']}")
    return tuple(shapes[0])


def equalise(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """The same product `weight / sqrt(fan-in)` after the fan-in went from `old` to `new`."""
    x = wide(sources[0])
    return (x * np.array(math.sqrt(args["new"] / args["old"]), x.dtype)).astype(sources[0].dtype)


def parts_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    source, target, axis = tuple(shapes[0]), tuple(args["shape"]), args["axis"]
    counts = [len(args[key]) for key in ("old", "new", "factors", "loud")]
    if len(set(counts)) != 1 or len(source) != len(target) or not 0 <= axis < len(source) - 1:
        raise OpError(f"parts needs old, new, factors and loud for each part of an axis that is read, not {dict(args)}")
    if sum(args["old"]) != source[axis] or sum(args["new"]) != target[axis]:
        raise OpError(f"parts {args['old']} -> {args['new']} are not axis {axis} of {list(source)} -> {list(target)}")
    if any(s != t for i, (s, t) in enumerate(zip(source[:-1], target)) if i != axis) or source[-1] > target[-1]:
        raise OpError(
            f"parts changes axis {axis} and adds outputs, which does not lead {list(source)} -> {list(target)}"
        )
    return target


def parts(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """A kernel that reads several things side by side along `axis`, each with its number of channels and its factor.

    Old outputs read new channels with zero, or, where a part is `loud`, with fresh values: for channels that are zero
    themselves. New outputs are fresh.
    """
    x, axis, outputs = wide(sources[0]), args["axis"], sources[0].shape[-1]
    out, before, after = fresh, 0, 0
    at = lambda start, stop, columns: (*[slice(None)] * axis, slice(start, stop), ..., slice(0, columns))
    for old, new, factor, loud in zip(args["old"], args["new"], args["factors"], args["loud"]):
        kept = min(old, new)
        if not loud:
            out = paste(out, at(after + kept, after + new, outputs), 0)
        part = x[at(before, before + kept, outputs)] * np.array(factor, x.dtype)
        out = paste(out, at(after, after + kept, outputs), part.astype(fresh.dtype))
        before, after = before + old, after + new
    return out


def carry_centre_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    shape = tuple(args["shape"])
    needed = [width_of(args[key], args["channels"]) for key in ("reads", "writes")]
    if len(shape) != 4 or any(k % 2 == 0 for k in shape[:2]) or any(n < m for n, m in zip(shape[2:], needed)):
        raise OpError(f"this needs a kernel [k, k, {needed[0]} or more, {needed[1]} or more], not {list(shape)}")
    return shape


def carry_centre(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """The middle weight passes image channels on, from and to `plain` channels or `pairs`; more outputs are fresh."""
    shape, channels = tuple(args["shape"]), args["channels"]
    inputs, outputs = shape[2:]
    written = width_of(args["writes"], channels)
    matrix = args["value"] * signs(args["reads"], channels, inputs).T @ signs(args["writes"], channels, outputs)
    out = paste(fresh, (..., slice(0, written)), 0)
    middle = matrix[:, :written].astype(fresh.dtype)
    return paste(out, (shape[0] // 2, shape[1] // 2, slice(None), slice(0, written)), middle)


def carry_head_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    source, target = tuple(shapes[0]), tuple(args["shape"])
    fits = len(source) == len(target) == 4 and source[:2] == (1, 1) and all(k % 2 for k in target[:2])
    if not fits or 2 * source[2] > target[2] or source[3] > target[3]:
        raise OpError(
            f"a head [1, 1, c, O] is carried in the middle of a kernel [k, k, 2 c or more, O or more], not {list(source)} "
            f"in {list(target)}"
        )
    return target


def carry_head(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """A head as the middle weight of a layer within, that reads `pairs`, times `value`; more outputs are fresh."""
    x = wide(sources[0])[0, 0] * np.array(args["value"], wide(sources[0]).dtype)
    shape, (inputs, outputs) = tuple(args["shape"]), x.shape
    out = paste(fresh, (..., slice(0, outputs)), 0)
    matrix = xp_of(x).stack([x, -x], axis=1).reshape(2 * inputs, outputs).astype(fresh.dtype)
    return paste(out, (shape[0] // 2, shape[1] // 2, slice(0, 2 * inputs), slice(0, outputs)), matrix)


def fold_rgb_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    if len(shapes) < 2 or any(len(s) != 4 for s in shapes) or any(a[3] != b[2] for a, b in zip(shapes, shapes[1:])):
        raise OpError(f"fold_rgb needs the kernels of a head and of layers that follow it, not {list(shapes)}")
    return (1, 1, shapes[0][2], shapes[-1][3])


def fold_rgb(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """A head and the layers after it as one head, as if they were linear, times `value`: what `carry_head` made, undone.

    A nonlinearity counts as its mean slope 0.6 and sqrt(2), a kernel as the sum of its weights.
    """
    out = wide(sources[0])[0, 0]
    for kernel in sources[1:]:
        gain = 0.5 * CARRIED / math.sqrt(math.prod(kernel.shape[:-1]))
        out = out @ (wide(kernel).sum(axis=(0, 1)) * np.array(gain, wide(kernel).dtype))
    return (out[None, None] * np.array(args["value"], out.dtype)).astype(sources[0].dtype)
