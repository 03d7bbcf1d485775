"""Conversion between uint8 outside and float32 in [-1, 1] inside; resizing; fitting to a resolution and to channels."""

from __future__ import annotations

import dataclasses
from collections import Counter
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np

from gan_jax.data.images import DataError
from gan_jax.trees import did_you_mean

# ----------------------------------------------------------------------------------------------------------------------
# Pixels: uint8 and float32; resizing; grey, RGB and RGBA.
#
# Resizing and channel conversion are integer or exactly representable arithmetic, so that every machine gives bit-exact
# images: fingerprints and evaluation references depend on it.

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


# ----------------------------------------------------------------------------------------------------------------------
# Brings images to a resolution and a number of channels, and says what that loses.

Fit = Literal["crop", "pad", "stretch"]


@dataclasses.dataclass(frozen=True)
class Shape:
    """The shape that images get while they are read; None keeps what the source has.

    Attributes:
      resolution: height and width, px.
      channels: 1 grey, 3 RGB, 4 RGBA.
      fit: how images that are not square become square: the largest centred square is cut out, they are padded with
        black (transparent where they have alpha), or stretched.
      square: whether they become square without a resolution, too.
    """

    resolution: int | None = None
    channels: int | None = None
    fit: Fit = "crop"
    square: bool = False

    def __post_init__(self) -> None:
        if self.fit not in get_args(Fit):
            raise DataError(
                f"data.fit is {self.fit!r}; use crop, pad or stretch{did_you_mean(str(self.fit), get_args(Fit))}"
            )
        if self.resolution is not None and self.resolution < 1:
            raise DataError(f"cannot resize images to {self.resolution} px; a resolution is at least 1")

    def scale(self, height: int, width: int) -> float:
        """The factor by which an image of this size grows; 1 where it keeps its size."""
        if self.resolution is None:
            return 1.0
        side = max(height, width) if self.fit == "pad" else min(height, width)
        return self.resolution / side


def fit_pixels(pixels: np.ndarray, shape: Shape) -> np.ndarray:
    """Brings `[N, H, W, C]` uint8 to a shape.

    Args:
      pixels: the images.
      shape: that they get.
    """
    _, h, w, _ = pixels.shape
    squared = h != w and (shape.square or shape.resolution is not None)
    if squared and shape.fit == "crop":
        side = min(h, w)
        top, left = (h - side) // 2, (w - side) // 2
        pixels = pixels[:, top : top + side, left : left + side]
    if shape.channels is not None and shape.channels < pixels.shape[3]:
        pixels = to_channels(pixels, shape.channels)  # fewer channels to resize
    if squared and shape.fit == "pad":
        side = shape.resolution or max(h, w)
        longer = max(h, w)
        pixels = resize(pixels, (max(1, round(h * side / longer)), max(1, round(w * side / longer))))
        pixels = _pad(to_channels(pixels, shape.channels or pixels.shape[3]), side)
    elif shape.resolution is not None:
        pixels = resize(pixels, shape.resolution)
    elif squared and shape.fit == "stretch":
        pixels = resize(pixels, min(h, w))
    return pixels if shape.channels is None else to_channels(pixels, shape.channels)


def _pad(pixels: np.ndarray, side: int) -> np.ndarray:
    """Images in the middle of black squares, transparent where the images have alpha."""
    n, h, w, c = pixels.shape
    out = np.zeros((n, side, side, c), np.uint8)
    top, left = (side - h) // 2, (side - w) // 2
    out[:, top : top + h, left : left + w] = pixels
    return out


def has_colour(pixels: np.ndarray) -> bool:
    """Whether any pixel of `[..., C]` has channels that differ."""
    return pixels.shape[-1] >= 3 and bool((pixels[..., :1] != pixels[..., 1:3]).any())


def losses(sizes: Counter[tuple[int, int]], shape: Shape, *, colour: int = 0, alpha: int = 0) -> list[str]:
    """A sentence for each thing that bringing images to a shape loses or adds.

    Args:
      sizes: number of images of each (width, height).
      shape: that they get.
      colour: number of images with colour.
      alpha: number of images with transparency.
    """
    out = []
    total = sum(sizes.values())
    oblong = sum(n for (w, h), n in sizes.items() if w != h)
    if oblong and (shape.resolution is not None or shape.square):
        how = {
            "crop": "cut to the centre (data.fit pad or stretch keeps all of it)",
            "pad": "padded with black (data.fit pad)",
            "stretch": "stretched (data.fit stretch)",
        }[shape.fit]
        out.append(f"{of(oblong, total)} not square: {how}")
    if shape.resolution is not None:
        scales = [(shape.scale(h, w), n) for (w, h), n in sizes.items()]
        smaller, larger = sum(n for s, n in scales if s < 1), sum(n for s, n in scales if s > 1)
        words = [f"{n:,} {what}" for n, what in ((smaller, "reduced"), (larger, "enlarged, which adds no detail")) if n]
        if words:
            out.append(
                f"images of {size_range(sizes)} become {shape.resolution} x {shape.resolution} px: {', '.join(words)}"
            )
    if shape.channels == 1 and colour:
        out.append(f"colour becomes grey in {share(colour, total)} (data.channels 3 keeps it)")
    if shape.channels in (1, 3) and alpha:
        out.append(f"transparency is laid on white in {share(alpha, total)} (data.channels 4 keeps it)")
    return out


def of(n: int, total: int, plural: str = "are", singular: str = "is") -> str:
    """`3 of 60 images are`."""
    return f"{share(n, total)} {singular if n == 1 else plural}"


def share(n: int, total: int) -> str:
    """`3 of 60 images`, `all 60 images`, `the image`."""
    return "the image" if total == 1 else f"all {total:,} images" if n == total else f"{n:,} of {total:,} images"


def size_range(sizes: Counter[tuple[int, int]]) -> str:
    """`40 x 30 to 4032 x 3024 px`, by area; a single size as itself."""
    small, large = min(sizes, key=lambda s: (s[0] * s[1], s)), max(sizes, key=lambda s: (s[0] * s[1], s))
    first = f"{small[0]} x {small[1]}"
    return f"{first} px" if small == large else f"{first} to {large[0]} x {large[1]} px"
