"""Operations on kernels that are scaled in use: by an equalised learning rate, or by spectral norm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gan_jax.surgery.ops.basic import Args, OpError, Shape, corner, paste, views, wide, xp_of, zeros
from gan_jax.surgery.ops.dense import signs, width_of

# ----------------------------------------------------------------------------------------------------------------------
# Leaf functions for layers with an equalised learning rate, whose stored weights are divided by sqrt(fan-in) in use.
#
# A slope of 0.2 on both sides of zero is 1.2 in all: `lrelu(p) - lrelu(-p) = 1.2 p`. So two channels carry an image
# channel through a layer, and on average, at a slope of 0.6 each, a layer is linear.

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


# ----------------------------------------------------------------------------------------------------------------------
# Leaf functions for kernels that are divided by their largest singular value (spectral norm).
#
# A kernel `[.., I, O]` is read as the matrix `W [.. * I, O]`, with the singular vector `u [O]` beside it. Whatever is
# added to W must leave its largest singular value s as it was, or every old weight changes its effect; and a kernel
# that is zero, or small, cannot be had at all, since the division brings any kernel to full strength.
#
# - `widen`: new outputs N are made orthogonal to all old outputs, so that W'W = diag(WᵀW, NᵀN), and are scaled
#   to `strength` * s. Then s, and the old part of every singular vector, stay: exact, also where `u` has not converged.
#   Where the old outputs already fill the space of old inputs, new outputs read new inputs only.
# - `colour`: grey to colour. The old weight, spread over three channels, has the singular value s / sqrt(3), and would
#   be divided by it. Two chroma directions, which see nothing of a grey image, carry s instead.
# - `mute` and `ballast`: a block with zero output. `mute` sets the last hidden unit to zero, and the only non-zero weight
#   of the `ballast` reads this unit. That weight keeps the singular value at 1 (norm padding), while the other weights
#   grow from zero as in any network.

STRENGTH = 0.7  # of new outputs, relative to the largest singular value; below 1, so that power iteration stays


def _norm(xp: Any, matrix: Any) -> Any:
    return xp.linalg.svd(matrix, compute_uv=False)[0]


def widen(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """The source in the leading corner, new inputs zero for old outputs, new outputs orthogonal to the old ones."""
    x = sources[0]
    (*_, outputs), (*_, total) = views(x.shape, args)
    base = corner(x, fresh, args)
    if outputs == total:
        return base
    xp = xp_of(base)
    rows = math.prod(args["shape"][:-1])  # a fused last axis has an output for each position and channel
    matrix = wide(base).reshape(rows, -1, total)
    old, new = matrix[..., :outputs].reshape(rows, -1), matrix[..., outputs:].reshape(rows, -1)
    left, values, _ = xp.linalg.svd(old, full_matrices=False)
    left = left * (values > values[0] * 1e-6).astype(old.dtype)[None]
    before = _norm(xp, new)
    for _ in range(2):  # the second pass removes what rounding left
        new = new - left @ (left.T @ new)
    size = _norm(xp, new)
    target = xp.where(values[0] > 0, args.get("strength", STRENGTH) * values[0], before)
    nothing_left = size <= before * 1e-3  # rounding errors must not be blown up to weights
    scale = xp.where(nothing_left, xp.zeros_like(size), target / xp.where(nothing_left, xp.ones_like(size), size))
    parts = [part.reshape(rows, matrix.shape[1], -1) for part in (old, new * scale)]
    return xp.concatenate(parts, axis=2).reshape(base.shape).astype(x.dtype)


def colour_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    source, target = tuple(shapes[0]), tuple(args["shape"])
    fits = len(source) == len(target) == 4 and source[:3] == (1, 1, 1) and target[:2] == (1, 1)
    if not fits or target[2] not in (3, 4) or target[3] < max(3, source[3]):
        forms = "[1, 1, 1, O] -> [1, 1, 3 or 4, O'] with O' >= O and O' >= 3"
        raise OpError(f"colour_spectral needs {forms}, not {list(source)} -> {list(target)}")
    return target


def colour(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """A grey 1x1 reader `[1, 1, 1, O]` for colour images: `[1, 1, 3 or 4, O']`; a fourth channel, alpha, is unread.

    Chroma goes to the new outputs where there are two or more (then the old ones read the mean of the colours),
    else to directions orthogonal to what grey excites.
    """
    x = wide(sources[0])
    xp, outputs = xp_of(x), x.shape[-1]
    channels, total = args["shape"][2:]
    grey = paste(zeros(x, (total,)), slice(0, outputs), x.reshape(-1))
    waves = np.cos(np.pi * np.outer(np.arange(total) + 0.5, [1, 2]) / total)
    if total - outputs >= 2:
        waves = np.zeros((total, 2))
        waves[outputs:] = np.cos(np.pi * np.outer(np.arange(total - outputs) + 0.5, [0, 1]) / (total - outputs))
    basis = xp.concatenate([grey[:, None], xp.asarray(waves, dtype=x.dtype)], axis=1)
    directions = xp.linalg.qr(basis)[0][:, 1:]  # [O', 2], orthonormal and orthogonal to grey
    chroma = np.array([[1, 0, -1], [1, -2, 1]]) / np.sqrt([[2], [6]])  # [2, 3], orthonormal and orthogonal to grey
    size = xp.sqrt((grey * grey).sum())
    rows = grey[None] / 3 + size * (xp.asarray(chroma.T, dtype=x.dtype) @ directions.T)
    out = paste(zeros(x, (channels, total)), slice(0, 3), rows)
    return out.reshape(1, 1, channels, total).astype(sources[0].dtype)


def mute(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """The fresh kernel with its last output zero: after a ReLU that unit stays zero."""
    return paste(fresh, (..., -1), 0)


def ballast(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """A kernel of zeros, but for a 1 from the last input to the last output in its middle (norm padding)."""
    shape = tuple(args["shape"])
    middle = tuple(k // 2 for k in shape[:-2])
    return paste(zeros(fresh, shape), (*middle, -1, -1), 1)


def one_hot(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """The unit vector along `args["index"]`, times `value`; each row of a table is it."""
    return paste(zeros(fresh, tuple(args["shape"])), (..., args["index"]), args.get("value", 1))


def shift(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """A bias, plus `factor` times what its layer makes of ones in the first `channels` inputs, far from any border.

    Sources: bias `[O]`, kernel `[h, w, I, O]`, singular vector `[O]`; the layer is one with `refine`.
    """
    bias, kernel, vector = map(wide, sources)
    response = kernel[..., : args["channels"], :].sum(axis=(0, 1, 2)) / stretch(kernel, vector, refine=True)
    return (bias + np.array(args["factor"], bias.dtype) * response).astype(sources[0].dtype)


def top(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """The singular vector of a kernel that has none beside it."""
    return top_vector(sources[0], sources[0])


def top_vector(kernel: Any, like: Any) -> Any:
    """The unit vector `u [O]` that a kernel `[.., O]` stretches most, in the dtype of `like`."""
    matrix = wide(kernel).reshape(-1, kernel.shape[-1])
    _, _, rows = xp_of(matrix).linalg.svd(matrix, full_matrices=False)
    return rows[0].astype(like.dtype)


def vector_after(vector: Any, kernel: Any, old_vector: Any, old_kernel: Any) -> Any:
    """The singular vector for a kernel that changed: `vector` where it is stretched as far as before, else the top one.

    So what a change did not touch keeps its estimate of the singular value, converged or not.
    """
    top = top_vector(kernel, old_vector)
    if vector.shape != top.shape:
        return top
    before, after = stretch(old_kernel, old_vector), stretch(kernel, vector)
    return xp_of(kernel, vector).where(abs(after - before) <= 1e-6 * before, vector, top)


def stretch(kernel: Any, vector: Any, refine: bool = False) -> Any:
    """How far a kernel `[.., O]` stretches a vector `[O]`: for its singular vector, its singular value.

    With `refine` what half a power iteration more finds, which is what such layers of `nets` divide by.
    """
    matrix = wide(kernel).reshape(-1, kernel.shape[-1])
    image = matrix @ wide(vector)
    size = xp_of(image).sqrt((image * image).sum())
    if not refine:
        return size
    back = matrix.T @ (image / xp_of(image).maximum(size, np.array(1e-30, image.dtype)))
    return xp_of(image).sqrt((back * back).sum())
