"""Leaf functions for kernels that are divided by their largest singular value (spectral norm).

A kernel `[.., I, O]` is read as the matrix `W [.. * I, O]`, with the singular vector `u [O]` beside it. Whatever is
added to W must leave its largest singular value s as it was, or every old weight changes its effect; and a kernel
that is zero, or small, cannot be had at all, since the division brings any kernel to full strength.

- `widen`: new outputs N are made orthogonal to all old outputs, so that W'W = diag(WᵀW, NᵀN), and are scaled
  to `strength` * s. Then s, and the old part of every singular vector, stay: exact, also where `u` has not converged.
  Where the old outputs already fill the space of old inputs, new outputs read new inputs only.
- `colour`: grey to colour. The old weight, spread over three channels, has the singular value s / sqrt(3), and would
  be divided by it. Two chroma directions, which see nothing of a grey image, carry s instead.
- `mute` and `ballast`: a block with zero output. `mute` sets the last hidden unit to zero, and the only non-zero weight
  of the `ballast` reads this unit. That weight keeps the singular value at 1 (norm padding), while the other weights
  grow from zero as in any network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gan_jax.surgery.ops.arrays import Args, OpError, Shape, corner, paste, views, wide, xp_of, zeros

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
