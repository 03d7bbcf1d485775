"""Brings images to a resolution and a number of channels, and says what that loses."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Literal, get_args

import numpy as np

from gan_jax.data.convert import resize, to_channels
from gan_jax.data.images import DataError
from gan_jax.trees import did_you_mean

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


def of(n: int, total: int, many: str = "are", one: str = "is") -> str:
    """`3 of 60 images are`."""
    return f"{share(n, total)} {one if n == 1 else many}"


def share(n: int, total: int) -> str:
    """`3 of 60 images`, `all 60 images`, `the image`."""
    return "the image" if total == 1 else f"all {total:,} images" if n == total else f"{n:,} of {total:,} images"


def size_range(sizes: Counter[tuple[int, int]]) -> str:
    """`40 x 30 to 4032 x 3024 px`, by area; a single size as itself."""
    small, large = min(sizes, key=lambda s: (s[0] * s[1], s)), max(sizes, key=lambda s: (s[0] * s[1], s))
    first = f"{small[0]} x {small[1]}"
    return f"{first} px" if small == large else f"{first} to {large[0]} x {large[1]} px"
