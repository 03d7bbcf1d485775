"""Conversion between uint8 outside and float32 in [-1, 1] inside; resizing; grey, RGB and RGBA.

Resizing and channel conversion are integer or exactly representable arithmetic, so that every machine gives bit-exact
images: fingerprints and evaluation references depend on it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from gan_jax.data.images import DataError

_WEIGHT_BITS = 16  # fraction bits of a resampling weight: two passes over pixels times alpha stay exact in float64
_CHUNK_VALUES = 1 << 22  # float64 values that a resize holds at a time


def to_float(images: Any) -> Any:
    """uint8 in 0 .. 255 to float32 in [-1, 1]: `x / 127.5 - 1`. Takes numpy and JAX arrays."""
    return images.astype("float32") / 127.5 - 1


def to_uint8(images: Any) -> Any:
    """Float in [-1, 1] to uint8: `clip(x * 127.5 + 128, 0, 255)`, truncated; inverse of `to_float`. numpy and JAX."""
    return (images.astype("float32") * 127.5 + 128).clip(0, 255).astype("uint8")


def resize(images: np.ndarray, resolution: int | tuple[int, int]) -> np.ndarray:
    """Resizes `[N, H, W, C]` uint8 by an anti-aliased bicubic filter (Keys, a = -1/2, widened when shrinking).

    Equals Pillow's BICUBIC in its float mode, rounded (its 8-bit mode rounds and clips between the two passes as
    well, so it differs by a few levels at sharp edges). RGBA is resized with premultiplied alpha, so that invisible
    colours do not bleed into visible ones.

    Args:
      images: `[N, H, W, C]` uint8.
      resolution: height and width, px; one number is both.
    """
    height, width = (resolution, resolution) if isinstance(resolution, int) else resolution
    if height < 1 or width < 1:
        raise DataError(f"cannot resize to {height} x {width}")
    n, h, w, c = images.shape
    if (h, w) == (height, width):
        return images
    rows, columns = _weights(h, height), _weights(w, width)
    out = np.empty((n, height, width, c), np.uint8)
    step = max(1, _CHUNK_VALUES // (max(h, height) * max(w, width) * c))
    for start in range(0, n, step):
        x = images[start : start + step].astype(np.float64)
        if c == 4:
            x[..., :3] *= x[..., 3:]
        x = np.matmul(rows, x.reshape(-1, h, w * c)).reshape(-1, w, c)
        x = (x[..., 0] @ columns.T)[..., None] if c == 1 else np.matmul(columns, x)
        x = x.reshape(-1, height, width, c)
        if c == 4:
            x[..., :3] /= np.where(x[..., 3:] > 0, x[..., 3:], 1)
        out[start : start + step] = np.floor(x.clip(0, 255) + 0.5)
    return out


@lru_cache(maxsize=64)
def _weights(size: int, target: int) -> np.ndarray:
    """Bicubic weights `[target, size]` float64, each a multiple of 2^-16, rows summing to exactly 1."""
    scale = size / target
    stretch = max(scale, 1.0)
    centres = (np.arange(target) + 0.5) * scale
    x = np.abs((np.arange(size)[None, :] + 0.5 - centres[:, None]) / stretch)
    a = -0.5
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    weights = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    weights /= weights.sum(1, keepdims=True)
    units = np.round(weights * 2**_WEIGHT_BITS)
    rows = np.arange(target)
    units[rows, units.argmax(1)] += 2**_WEIGHT_BITS - units.sum(1)
    return units / 2**_WEIGHT_BITS


def to_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """Converts `[N, H, W, C]` uint8 among grey (1), RGB (3) and RGBA (4).

    Grey is luma of ITU-R Rec. 601 (0.299 R + 0.587 G + 0.114 B, rounded); grey to RGB repeats; alpha is composited on
    white when it is dropped and 255 when it is added.
    """
    have = images.shape[-1]
    if channels not in (1, 3, 4) or have not in (1, 3, 4):
        raise DataError(f"cannot turn {have} channels into {channels}; 1, 3 and 4 are known (grey, RGB, RGBA)")
    if have == channels:
        return images
    if have == 4:
        colour, alpha = images[..., :3].astype(np.uint32), images[..., 3:].astype(np.uint32)
        flat = ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
        return to_channels(flat, channels)
    if have == 3 and channels == 1:
        wide = images.astype(np.uint32)
        luma = wide[..., 0] * 19595 + wide[..., 1] * 38470 + wide[..., 2] * 7471 + 32768  # Rec. 601 in 1/65536
        return (luma >> 16).astype(np.uint8)[..., None]
    rgb = np.repeat(images, 3, axis=-1) if have == 1 else images
    if channels == 3:
        return rgb
    return np.concatenate([rgb, np.full((*rgb.shape[:-1], 1), 255, np.uint8)], axis=-1)
