"""Strided convolutions and pooling of feature networks, in a fast form for each platform.

XLA on CPU walks windows and grouped convolutions element by element; sums and maxima of shifted slices, which fuse
into one loop, are many times faster there. Other platforms get their libraries' own forms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.nets.conv import conv, is_closed

Padding = tuple[tuple[int, int], tuple[int, int]]
PRECISION = jax.lax.Precision.HIGHEST  # GPUs and TPUs would round to 10 bits: another device, another number


def convolve(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    """Computes the correlation of `x [N, H, W, I]`, `kernel [kh, kw, I, O]` or, depthwise, `[kh, kw, 1, I]`."""
    depthwise = kernel.shape[2] == 1 and x.shape[-1] != 1
    if depthwise and is_closed():
        return _depthwise(x, kernel, stride, padding)
    if stride == 1 and is_closed():
        return conv(x, kernel, padding)  # its gradient is fast in loops, too, as perceptual losses need
    if kernel.shape[:2] == (1, 1) and stride == 1 and not depthwise:
        return jnp.einsum("nhwi,io->nhwo", x, kernel[0, 0], precision=PRECISION)
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1] if depthwise else 1,
        precision=PRECISION,
    )


def max_pool(x: jax.Array, size: int, stride: int, padding: int = 0) -> jax.Array:
    """The largest value of `size` x `size` windows; padding never wins."""
    if not is_closed():
        window, strides = (1, size, size, 1), (1, stride, stride, 1)
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, strides, _pads(padding))
    x = jnp.pad(x, _pads(padding), constant_values=-jnp.inf) if padding else x
    return _separably(jnp.maximum, x, size, stride)


def mean_pool(x: jax.Array, size: int, stride: int, padding: int = 0) -> jax.Array:
    """Computes the mean of `size` x `size` windows over the pixels inside the image.

    Their number follows from the shape: XLA would take minutes to fold a divisor made by pooling ones.
    """
    if is_closed():
        total = _separably(jnp.add, jnp.pad(x, _pads(padding)) if padding else x, size, stride)
    else:
        window, strides = (1, size, size, 1), (1, stride, stride, 1)
        total = jax.lax.reduce_window(x, 0.0, jax.lax.add, window, strides, _pads(padding))
    rows, columns = (_counts(length, size, stride, padding) for length in x.shape[1:3])
    return total / jnp.asarray(np.outer(rows, columns), x.dtype)[None, :, :, None]


def _counts(length: int, size: int, stride: int, padding: int) -> np.ndarray:
    """Counts the positions of each window inside an axis."""
    starts = np.arange(0, length + 2 * padding - size + 1, stride) - padding
    return np.minimum(starts + size, length) - np.maximum(starts, 0)


def _separably(combine: Callable[..., jax.Array], x: jax.Array, size: int, stride: int) -> jax.Array:
    """Combines windows along one axis, then along the other."""
    for axis in (1, 2):
        x = reduce(combine, _shifted(x, axis, size, stride))
    return x


def _shifted(x: jax.Array, axis: int, size: int, stride: int) -> Sequence[jax.Array]:
    """Returns for each position within a window the values of all windows along an axis."""
    span = (x.shape[axis] - size) // stride * stride + 1
    return [jax.lax.slice_in_dim(x, start, start + span, stride, axis) for start in range(size)]


def _depthwise(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    height, width = kernel.shape[:2]
    rows = _shifted(x, 1, height, stride)
    return sum(
        part * kernel[i, j, 0][None, None, None]
        for i, row in enumerate(rows)
        for j, part in enumerate(_shifted(row, 2, width, stride))
    )  # type: ignore[return-value]


def _pads(padding: int) -> tuple[tuple[int, int], ...]:
    return (0, 0), (padding, padding), (padding, padding), (0, 0)
