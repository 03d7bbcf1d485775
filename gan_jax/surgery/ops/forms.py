"""One layer in the forms that different families store it in: as one leaf, as several, with a scale of its use.

| operation | from | to |
|---|---|---|
| `modulated` | a kernel and the styles that it is multiplied with | the kernel that computes |
| `unit_rms` | a kernel whose size is not seen | values of RMS 1 |
| `flip` | a kernel that is convolved | one that is correlated, and back |
| `spread` | a map for each channel, and a dense layer beside it | the dense layer by position that both are |
| `rank_one` | a dense layer by position | that map, or that layer: exact where there is one |
| `fold_residual` | 1x1, grouped 3x3, 1x1 beside identities | one 3x3 kernel, as if they were linear |
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gan_jax.surgery.ops.basic import Args, OpError, Shape, wide, xp_of

SIDE = 4  # px, of the maps with which G begins and D ends
SLOPE = 0.6  # mean of a leaky ReLU's slopes


def modulated_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    if len(shapes) != 2 or len(shapes[0]) != 4 or tuple(shapes[1]) != (shapes[0][2],):
        raise OpError(f"modulated needs a kernel [k, k, I, O] and styles [I], not {list(shapes)}")
    return tuple(shapes[0])


def modulated(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """The kernel times its styles, outputs of norm 1 where `demodulated`, times `gain`."""
    kernel, styles = map(wide, sources)
    out = kernel * styles[None, None, :, None]
    if args.get("demodulated"):
        out = out / xp_of(out).sqrt((out * out).sum(axis=(0, 1, 2), keepdims=True) + 1e-8)
    return (out * np.array(args["gain"], out.dtype)).astype(sources[0].dtype)


def unit_rms(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """All values times one number, so that their root mean square is 1; zeros stay."""
    x = wide(sources[0])
    size = xp_of(x).sqrt((x * x).mean())
    return (x / xp_of(x).where(size > 0, size, 1)).astype(sources[0].dtype)


def kernel_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    if len(shapes[0]) != 4:
        raise OpError(f"this needs a kernel [k, k, I, O], not {list(shapes[0])}")
    return tuple(shapes[0])


def flip(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    return sources[0][::-1, ::-1]


def spread_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    (weights, maps), side = map(tuple, shapes), args["side"]
    channels = weights[{"first": -1, "last": 0}[side]]
    if len(weights) != 2 or maps[:2] != (SIDE, SIDE) or math.prod(maps) != SIDE**2 * channels:
        raise OpError(f"spread needs a kernel and the maps [4, 4, .., C] of its channels, not {list(shapes)}")
    return (weights[0], SIDE**2 * channels) if side == "first" else (SIDE**2 * channels, weights[1])


def spread(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """`[I, C]` before the maps of G's first layer (`side` first), `[C, O]` behind those of D's head (last)."""
    weights, maps = map(wide, sources)
    flat = maps.reshape(SIDE**2, -1)
    out = weights[:, None] * flat[None] if args["side"] == "first" else flat[:, :, None] * weights[None]
    return out.reshape(spread_shape([weights.shape, maps.shape], args)).astype(sources[0].dtype)


def rank_one_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    shape, axis = tuple(shapes[0]), {"first": 1, "last": 0}[args["side"]]
    if len(shape) != 2 or shape[axis] % SIDE**2:
        raise OpError(f"rank_one needs a dense layer with 4 x 4 positions along axis {axis}, not {list(shape)}")
    channels = shape[axis] // SIDE**2
    if args["part"] == "maps":
        return (SIDE, SIDE, channels) if args["side"] == "first" else (SIDE, SIDE, 1, channels)
    return (shape[0], channels) if args["side"] == "first" else (channels, shape[1])


def rank_one(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """For each channel the nearest product of a map and a vector: one `part` of it, `maps` or `weights`.

    Maps have norm 1, G's RMS 1, and a sum that is not below 0.
    """
    x, first = wide(sources[0]), args["side"] == "first"
    xp, shape = xp_of(x), rank_one_shape([sources[0].shape], args)
    channels = shape[-1] if first or args["part"] == "maps" else shape[0]
    each = (
        x.reshape(-1, SIDE**2, channels).transpose(2, 0, 1)
        if first
        else x.reshape(SIDE**2, channels, -1).transpose(1, 2, 0)
    )
    left, size, right = xp.linalg.svd(each, full_matrices=False)
    sign = xp.where(right[:, 0].sum(axis=1) < 0, -1, 1)[:, None].astype(x.dtype)
    unit = np.array(SIDE if first else 1, x.dtype)
    if args["part"] == "maps":
        return (right[:, 0] * sign * unit).T.reshape(shape).astype(sources[0].dtype)
    weights = left[:, :, 0] * size[:, :1] * sign / unit
    return (weights.T if first else weights).astype(sources[0].dtype)


def residual_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    blocks = [shapes[i : i + 3] for i in range(0, len(shapes), 3)]
    for block in blocks:
        fits = len(block) == 3 and all(len(shape) == 4 for shape in block)
        if not fits or block[0][3] != block[1][3] or block[1][3] != block[2][2] or block[0][3] % block[1][2]:
            raise OpError(f"fold_residual needs a 1x1, a grouped and a 1x1 kernel for each block, not {list(shapes)}")
    return (*shapes[1][:2], shapes[0][2], shapes[2][3])


def fold_residual(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """Identities and what blocks add to them, to first order; a nonlinearity counts as its mean slope."""
    out: Any = np.zeros(residual_shape([x.shape for x in sources], args), np.float64).astype(wide(sources[0]).dtype)
    middle = tuple(k // 2 for k in out.shape[:2])
    out[middle] = np.eye(*out.shape[2:])
    for i in range(0, len(sources), 3):
        first, grouped, last = map(wide, sources[i : i + 3])
        size, hidden = grouped.shape[2:]
        groups = hidden // size
        xp = xp_of(first)
        inner = first[0, 0].reshape(-1, groups, size)
        within = grouped.reshape(*grouped.shape[:2], size, groups, size)
        both = xp.einsum("cgi,hwigj->hwcgj", inner, within).reshape(*grouped.shape[:2], first.shape[2], hidden)
        out = out + np.array(SLOPE**2, first.dtype) * (both @ last[0, 0])
    return out.astype(sources[0].dtype)
