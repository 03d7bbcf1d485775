"""Bringing images to a resolution and a number of channels, whole sets or one at a time."""

from __future__ import annotations

import dataclasses

import numpy as np

from gan_jax.data.convert import resize, to_channels
from gan_jax.data.images import DataError


@dataclasses.dataclass(frozen=True)
class Shape:
    """What images are brought to while they are read; None keeps what the source has."""

    resolution: int | None = None  # height and width, px
    channels: int | None = None  # 1 grey, 3 RGB, 4 RGBA
    crop: bool = False  # cut the largest centred square out of images that are not square


def fit_pixels(pixels: np.ndarray, shape: Shape, name: str) -> np.ndarray:
    """Brings `[N, H, W, C]` uint8 to a shape.

    Args:
      pixels: the images.
      shape: what to bring them to.
      name: of the set or file, for errors.

    Raises:
      DataError: a resolution is wanted of images that are not square, without `crop`.
    """
    _, h, w, _ = pixels.shape
    if h != w and shape.crop:
        side = min(h, w)
        top, left = (h - side) // 2, (w - side) // 2
        pixels = pixels[:, top : top + side, left : left + side]
    elif h != w and shape.resolution is not None:
        raise DataError(f"{name} is {h} x {w} px (height x width), not square; crop it, or load it with crop=True")
    if shape.channels is not None and shape.channels < pixels.shape[3]:
        pixels = to_channels(pixels, shape.channels)  # fewer channels to resize
    if shape.resolution is not None:
        pixels = resize(pixels, shape.resolution)
    return pixels if shape.channels is None else to_channels(pixels, shape.channels)
