"""Geometric part of ADA: one affine map per image, without aliasing, and the wavelet by which images are resampled."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.augment.ada.draws import angle

# ----------------------------------------------------------------------------------------------------------------------
# Downsampling and upsampling of rows by a wavelet; each is the other's transpose and gradient.
#
# Both are sums of strided slices. The default gradients of slices would be sums of padded arrays, which compilers fuse into
# programs that repeat computations: 50 times the cost of the transposes written here.

Taps = tuple[float, ...]


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def contract(y: jax.Array, taps: Taps, offset: int, n: int, length: int) -> jax.Array:
    """Computes x[s] = sum over i of y[i] taps[i - 2 s + offset]: `[length, ...]` -> `[n, ...]`."""
    before = max(0, offset)
    after = max(0, 2 * n - 1 + len(taps) - offset - length)
    y = jnp.pad(y, ((before, after), *((0, 0),) * (y.ndim - 1)))
    first = before - offset
    return sum((tap * y[first + k :: 2][:n] for k, tap in enumerate(taps)), start=jnp.zeros((), y.dtype))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def spread(x: jax.Array, taps: Taps, offset: int, n: int, length: int) -> jax.Array:
    """Computes y[i] = sum over s of x[s] taps[i - 2 s + offset]: `[n, ...]` -> `[length, ...]`, the transpose of `contract`."""
    half = -(-length // 2)
    reach = len(taps) + abs(offset)
    x = jnp.pad(x, ((reach, reach + max(0, half - n)), *((0, 0),) * (x.ndim - 1)))

    def rows(parity: int) -> jax.Array:
        """Computes the rows of a parity; they use every other tap."""
        meets = [(k, reach + (parity + offset - k) // 2) for k in range((parity + offset) % 2, len(taps), 2)]
        return sum((taps[k] * x[first:][:half] for k, first in meets), start=jnp.zeros((), x.dtype))

    return jnp.stack([rows(0), rows(1)], 1).reshape(2 * half, *x.shape[1:])[:length]


def _with_transpose(function: Any, transpose: Any) -> None:
    forward = lambda a, *sizes: (function(a, *sizes), None)
    function.defvjp(forward, lambda taps, offset, n, length, _, g: (transpose(g, taps, offset, n, length),))


_with_transpose(contract, spread)
_with_transpose(spread, contract)


# ----------------------------------------------------------------------------------------------------------------------
# The affine map of an image (ADA; Karras et al., 2020, appendix B).
#
# The image is reflected at its edges, upsampled 2x with the sym6 wavelet, sampled bilinearly on a grid that is moved,
# and downsampled with the mirrored wavelet. All functions take one image `[H, W, C]`; `ada` maps them.
#
# The published code pads as much as the batch's largest transform needs. Here shapes are static: the canvas has the largest
# possible margin, H-1 and W-1, and pixels outside the margin of the image's own transform are zero.

BLIT = ("xflip", "rotate90", "xint")
GEOMETRIC = ("scale", "rotate", "aniso", "rotate_again", "xfrac")

SHIFT = 0.125  # standard deviation or reach of translations, as a fraction of the size
SCALE = 0.2  # standard deviation of log2 of scales

_SYM6 = (0.015404109327, 0.003490712084, -0.117990111148, -0.048311742586, 0.491055941927, 0.787641141030,
         0.337929421728, -0.072637522786, -0.021060292512, 0.044724901771, 0.001767711864, -0.007800708325)  # fmt: skip
LOWPASS = np.array(_SYM6) / np.sum(_SYM6)
_TAPS = tuple(float(tap) for tap in LOWPASS)
_DOUBLED = tuple(2 * tap for tap in _TAPS)
BORDER = len(_SYM6) // 4  # px of the image that the filter needs around it, at either resampling

Scalars = dict[str, jax.Array]


def geometry_matrix(names: tuple[str, ...], on: Scalars, uniform: Scalars, normal: Scalars, size: tuple) -> jax.Array:
    """Computes the `[3, 3]` map from output to input positions, px from the image's centre, x first.

    Args:
      names: the transforms, of `BLIT` and `GEOMETRIC`.
      on: name -> `[1]` bool, whether the transform is applied.
      uniform, normal: name -> `[n]` draws.
      size: (H, W) of the image.
    """
    height, width = size
    shift = (2 * uniform["xint"] - 1) * SHIFT
    stretch = lambda name: jnp.exp2(-normal[name][0] * SCALE)
    inverse = {
        "xflip": lambda: _scale(1 - 2 * jnp.floor(2 * uniform["xflip"][0]), 1.0),
        "rotate90": lambda: _rotate(jnp.floor(4 * uniform["rotate90"][0]) * (math.pi / 2)),
        "xint": lambda: _translate(-jnp.round(shift[0] * width), -jnp.round(shift[1] * height)),
        "scale": lambda: _scale(stretch("scale"), stretch("scale")),
        "rotate": lambda: _rotate(angle(uniform["rotate"][0])),
        "aniso": lambda: _scale(stretch("aniso"), 1 / stretch("aniso")),
        "rotate_again": lambda: _rotate(angle(uniform["rotate_again"][0])),
        "xfrac": lambda: _translate(-normal["xfrac"][0] * SHIFT * width, -normal["xfrac"][1] * SHIFT * height),
    }
    matrix = jnp.eye(3)
    for name in (*BLIT, *GEOMETRIC):
        if name in names:
            matrix = _product(matrix, jnp.where(on[name][0], inverse[name](), jnp.eye(3)))
    return matrix


def warp(matrix: jax.Array, image: jax.Array) -> jax.Array:
    """Warps the image `[H, W, C]` by `matrix [3, 3]`, reflected at its edges."""
    height, width, channels = image.shape
    before, after = _margins(matrix, height, width)
    canvas = _upsampled(_upsampled(image, before[1], after[1]).swapaxes(0, 1), before[0], after[0]).swapaxes(0, 1)
    samples = _bilinear(canvas, *_positions(matrix, height, width))
    samples = samples.reshape(2 * (height + 2 * BORDER), 2 * (width + 2 * BORDER), channels)
    return _downsampled(_downsampled(samples).swapaxes(0, 1)).swapaxes(0, 1)


def _margins(matrix: jax.Array, height: int, width: int) -> tuple[jax.Array, jax.Array]:
    """Computes the integer margins in px that the image needs before and after itself, each `[2]`, x first."""
    half = np.array([(width - 1) / 2, (height - 1) / 2], np.float32)
    signs = np.array([[-1, 1, 1, -1], [-1, -1, 1, 1]], np.float32)
    corners = np.concatenate([half[:, None] * signs, np.ones((1, 4), np.float32)])
    reached = _product(matrix, jnp.asarray(corners))[:2]

    def pixels(reach: jax.Array) -> jax.Array:
        return jnp.ceil(jnp.clip(reach + 2 * BORDER - half, 0, 2 * half)).astype(jnp.int32)

    return pixels(-reached.min(1)), pixels(reached.max(1))


def _upsampled(x: jax.Array, before: jax.Array, after: jax.Array) -> jax.Array:
    """Reflects rows `[n, m, C]` to 3n-2, clears those outside the margins, and upsamples: `[6n-4, m, C]`."""
    n = len(x)

    def clear(rows: jax.Array, factor: int) -> jax.Array:
        i = jnp.arange(len(rows))
        inside = (i >= factor * (n - 1 - before)) & (i < factor * (2 * n - 1 + after))
        return jnp.where(inside[:, None, None], rows, 0)

    x = clear(jnp.pad(x, ((n - 1, n - 1), (0, 0), (0, 0)), mode="reflect"), 1)
    # Twice the taps: zeros between samples halve the mean.
    return clear(spread(x, _DOUBLED, 2 * BORDER - 1, len(x), 2 * len(x)), 2)


def _downsampled(x: jax.Array) -> jax.Array:
    """Halves rows `[2n + 4 BORDER, m, C]` by correlation, and drops the border: `[n, m, C]`."""
    return contract(x, _TAPS, -1, len(x) // 2 - 2 * BORDER, len(x))


def _positions(matrix: jax.Array, height: int, width: int) -> tuple[jax.Array, jax.Array]:
    """Computes the canvas rows and columns, each `[N]`, of the samples at twice the resolution."""

    def centred(n: int) -> np.ndarray:
        return (np.arange(2 * (n + 2 * BORDER)) - (2 * (n + 2 * BORDER) - 1) / 2 + 0.5) / 2

    y, x = np.meshgrid(centred(height), centred(width), indexing="ij")
    grid = np.stack([x.ravel(), y.ravel(), np.ones(x.size)]).astype(np.float32)
    moved = 2 * _product(matrix, jnp.asarray(grid)) - 0.5
    return moved[1] + (6 * height - 5) / 2, moved[0] + (6 * width - 5) / 2


def _bilinear(canvas: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Interpolates values `[N, C]` between the pixels of `canvas [H, W, C]`, which is zero outside."""
    height, width, channels = canvas.shape
    top, left = jnp.floor(rows), jnp.floor(columns)
    down, right = (rows - top)[:, None], (columns - left)[:, None]
    # Four neighbours at once: the gradient of a gather is a scatter, whose time grows with its indices.
    canvas = jnp.pad(canvas, ((2, 2), (2, 2), (0, 0)))  # so that positions outside have zeros for neighbours
    at = jnp.stack([jnp.clip(top + 2, 0, height + 2), jnp.clip(left + 2, 0, width + 2)], -1).astype(jnp.int32)
    numbers = jax.lax.GatherDimensionNumbers(offset_dims=(1, 2, 3), collapsed_slice_dims=(), start_index_map=(0, 1))
    near = jax.lax.gather(canvas, at, numbers, (2, 2, channels), mode="promise_in_bounds")
    upper, lower = ((1 - right) * near[:, y, 0] + right * near[:, y, 1] for y in (0, 1))
    return (1 - down) * upper + down * lower


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision="highest")  # positions need all 24 bits on every platform


def _translate(x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.eye(3).at[0, 2].set(x).at[1, 2].set(y)


def _scale(x: jax.Array, y: jax.Array | float) -> jax.Array:
    return jnp.diag(jnp.stack([x, jnp.asarray(y, x.dtype), jnp.ones((), x.dtype)]))


def _rotate(theta: jax.Array) -> jax.Array:
    c, s, o, i = jnp.cos(theta), jnp.sin(theta), jnp.zeros(()), jnp.ones(())
    return jnp.stack([c, -s, o, s, c, o, o, o, i]).reshape(3, 3)
