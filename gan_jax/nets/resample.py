"""Resampling with a symmetric FIR filter by slices and adds, without inserted zeros or depthwise convolutions.

`[1, 3, 3, 1]` is StyleGAN2's filter, and R3GAN's too, which calls it `[1, 2, 1]` (convolved with a box of two). Every
function is linear and acts on `[N, H, W, C]` axis by axis. Conventions (padding, alignment) are those of the StyleGAN2-ADA code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from gan_jax.nets.conv import conv, is_closed, strided

Taps = Sequence[float]
TAPS = (1.0, 3.0, 3.0, 1.0)


def blur(x: jax.Array, taps: Taps, pad: tuple[int, int], gain: float = 1.0) -> jax.Array:
    """Applies the filter, times `gain`, at stride 1 after zero padding `pad` on both axes: `H + sum(pad) - len(taps) + 1`."""
    for axis in (1, 2):
        x = _filter(x, axis, [t * math.sqrt(gain) / sum(taps) for t in taps], pad, 1)
    return x


def upsample(x: jax.Array, taps: Taps = TAPS) -> jax.Array:
    """Doubles the size: `[N, H, W, C]` -> `[N, 2H, 2W, C]`; a constant image stays constant."""
    n = len(taps)
    weights = [2 * t / sum(taps) for t in taps]
    before = (n + 1) // 2  # zeros before the first sample: (n + 1) // 2, after the last one: (n - 2) // 2
    for axis in (1, 2):
        size = x.shape[axis]
        phases = []
        for phase in (0, 1):  # output 2m + phase reads inserted positions 2m + phase + k - before
            terms = [(k, (phase + k - before) // 2) for k in range(n) if (phase + k - before) % 2 == 0]
            phases.append(_sum_of_shifts(x, axis, [(weights[k], shift) for k, shift in terms], size))
        x = jnp.stack(phases, axis=axis + 1)
        x = x.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 2 :])
    return x


def downsample(x: jax.Array, taps: Taps = TAPS) -> jax.Array:
    """Halves the size: `[N, H, W, C]` -> `[N, H/2, W/2, C]`."""
    n = len(taps)
    pad = ((n - 1) // 2, (n - 2) // 2)
    for axis in (1, 2):
        x = _filter(x, axis, [t / sum(taps) for t in taps], pad, 2)
    return x


def conv_up3(x: jax.Array, w: jax.Array, taps: Taps = TAPS) -> jax.Array:
    """Applies a 3x3 convolution at twice the size, then the filter: `[N, H, W, I]` -> `[N, 2H, 2W, O]`.

    The transposed convolution `y[o] = sum_i x[i] w[o - 2i]` (a true convolution of the zero-filled image, as in
    StyleGAN2) multiplies every input once with each weight: 9 products per pixel, where the zero-filled image would cost 36.
    """
    return blur(_transposed3(x, w), taps, (1, 0), gain=4.0)


def conv_down3(x: jax.Array, w: jax.Array, taps: Taps = TAPS) -> jax.Array:
    """Applies the filter, then a 3x3 correlation of stride 2: `[N, H, W, I]` -> `[N, H/2, W/2, O]`."""
    x = blur(x, taps, (2, 2))
    return strided(x, w)


def conv_up3_plain(x: jax.Array, w: jax.Array) -> jax.Array:
    """3x3 transposed convolution, stride 2, padding and output padding 1: `[N, H, W, I]` -> `[N, 2H, 2W, O]`.

    Output `o` is the sum over `i` of `x[i] * w[o + 1 - 2i]`, as in PyTorch's ConvTranspose2d.
    """
    return _transposed3(x, w)[:, 1:-1, 1:-1]


def halve_smoothly(x: jax.Array) -> jax.Array:
    """Mirrors one pixel around, applies `[1, 2, 1]`, takes every second pixel: `[N, H, W, C]` -> `[N, ceil(H/2), .., C]`.

    CUT's filter before strides. The way back that CUT uses is `conv.upsample_linear`.
    """
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    for axis in (1, 2):
        x = _filter(x, axis, (0.25, 0.5, 0.25), (0, 0), 2)
    return x


def _transposed3(x: jax.Array, w: jax.Array) -> jax.Array:
    """Applies the transposed convolution alone: `[N, H, W, I]` -> `[N, 2H + 2, 2W + 2, O]`, the last row and column zero."""
    if not is_closed():
        numbers = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(
            x, w[::-1, ::-1], (1, 1), ((2, 2), (2, 2)), lhs_dilation=(2, 2), dimension_numbers=numbers
        )
        return jnp.pad(y, ((0, 0), (0, 1), (0, 1), (0, 0)))
    n, h, width, _ = x.shape
    rows = []
    for a in (0, 1):
        row = []
        for b in (0, 1):  # even outputs 2m: w[0] x[m] + w[2] x[m - 1]; odd outputs: w[1] x[m]
            pad = lambda phase: (0, 0) if phase else (1, 1)
            y = conv(x, w[a::2, b::2][::-1, ::-1], (pad(a), pad(b)))
            row.append(jnp.pad(y, ((0, 0), (0, h + 1 - y.shape[1]), (0, width + 1 - y.shape[2]), (0, 0))))
        rows.append(jnp.stack(row, axis=3))
    return jnp.stack(rows, axis=2).reshape(n, 2 * h + 2, 2 * width + 2, -1)


def _filter(x: jax.Array, axis: int, weights: Sequence[float], pad: tuple[int, int], stride: int) -> jax.Array:
    size = x.shape[axis] + sum(pad) - len(weights) + 1
    widths = [(0, 0)] * x.ndim
    widths[axis] = pad
    x = jnp.pad(x, widths)
    part = lambda k: jax.lax.slice_in_dim(x, k, k + size, stride, axis)
    return sum((part(k) * weights[k] for k in range(1, len(weights))), part(0) * weights[0])


def _sum_of_shifts(x: jax.Array, axis: int, terms: Sequence[tuple[float, int]], size: int) -> jax.Array:
    """Computes `out[m] = sum of weight * x[m + shift]`, with zeros outside."""
    low, high = -min(0, *(s for _, s in terms), 0), max(0, *(s for _, s in terms), 0)
    widths = [(0, 0)] * x.ndim
    widths[axis] = (low, high)
    padded = jnp.pad(x, widths)
    part = lambda shift: jax.lax.slice_in_dim(padded, low + shift, low + shift + size, 1, axis)
    first, *rest = terms
    return sum((part(s) * w for w, s in rest), part(first[1]) * first[0])
