"""Pictures of many images: grids, grids with labels, PNG files, and galleries of nearest training images."""

from __future__ import annotations

import dataclasses
import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.files import printable, write_atomically

# ----------------------------------------------------------------------------------------------------------------------
# Pictures of many images: plain grids, grids with a label per row, and PNG files. uint8 in, uint8 out.

WHITE, INK = 255, (28, 32, 38)
READABLE_PX = 64  # the least height of an image in a picture of many


def make_grid(
    images: Any, columns: int | None = None, scale: int = 1, padding: int = 2, background: int = WHITE
) -> np.ndarray:
    """Lays images: [N, H, W, C] uint8 out in rows; returns [height, width, C] uint8.

    Args:
      images: grey (C = 1), RGB (3) or RGBA (4).
      columns: images in a row; None = as square as possible.
      scale: whole factor to enlarge by; each pixel becomes a square, without smoothing.
      padding: px between images and around the grid, after scaling.
      background: 0 to 255, of the padding and of the cells left over.
    """
    images = check_images(images)
    columns = math.ceil(math.sqrt(len(images))) if columns is None else min(columns, len(images))
    if columns < 1 or scale < 1 or padding < 0:
        raise ValueError(f"columns {columns} and scale {scale} must be at least 1, padding {padding} at least 0")
    images = images.repeat(scale, axis=1).repeat(scale, axis=2)
    _, height, width, channels = images.shape
    rows = math.ceil(len(images) / columns)
    shape = (rows * (height + padding) + padding, columns * (width + padding) + padding, channels)
    grid = np.full(shape, background, np.uint8)
    if channels == 4:
        grid[..., 3] = 255  # padding and empty cells are opaque
    for i, image in enumerate(images):
        row, column = divmod(i, columns)
        top, left = row * (height + padding) + padding, column * (width + padding) + padding
        grid[top : top + height, left : left + width] = image
    return grid


def readable_scale(images: Any) -> int:
    """The whole factor that enlarges images [N, H, W, C] to at least 64 px; 1 where they are that large already."""
    return math.ceil(READABLE_PX / max(np.shape(images)[1:3]))


def labelled_grid(
    rows: Sequence[tuple[str, Any]], *, columns: int | None = None, cell_px: int | None = None, padding: int = 2
) -> np.ndarray:
    """Draws one row of images per label, the label at its left; returns [height, width, 3] uint8 on white.

    Args:
      rows: (label, images [N, H, W, C] uint8) each; resolutions and channels may differ from row to row.
      columns: images shown of each row; None = as many as the shortest row has.
      cell_px: height of every image in the picture; None = the largest resolution, enlarged to at least 64 px.
      padding: px between images.
    """
    from PIL import Image, ImageDraw, ImageFont

    if not rows:
        raise ValueError("a grid needs at least one (label, images) row")
    labels = [printable(label) for label, _ in rows]
    pictures = [to_rgb(images, f"row {label!r}") for label, (_, images) in zip(labels, rows, strict=True)]
    columns = min(len(images) for images in pictures) if columns is None else columns
    largest = max(images.shape[1] for images in pictures)
    height_px = largest * math.ceil(READABLE_PX / largest) if cell_px is None else cell_px
    if columns < 1 or padding < 0:
        raise ValueError(f"columns {columns} must be at least 1 and padding {padding} at least 0")
    if height_px < largest:
        raise ValueError(f"cell_px {height_px} would drop pixels of {largest} px images; make it at least {largest}")
    strips = [make_grid(enlarge(images[:columns], height_px), columns, padding=padding) for images in pictures]
    font = ImageFont.load_default(max(11, min(20, round(height_px * 0.22))))
    wrapped = [label.replace(", ", ",\n") if "\n" not in label else label for label in labels]
    draw = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    boxes = [draw.multiline_textbbox((0, 0), label, font=font) for label in wrapped]
    gap = 10
    left = math.ceil(max(box[2] for box in boxes)) + 2 * gap
    width, height = left + max(strip.shape[1] for strip in strips), sum(strip.shape[0] for strip in strips)
    canvas = np.full((height, width, 3), WHITE, np.uint8)
    tops = np.cumsum([0, *(strip.shape[0] for strip in strips)])
    for strip, top in zip(strips, tops, strict=False):
        canvas[top : top + strip.shape[0], left : left + strip.shape[1]] = strip
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    for label, box, strip, top in zip(wrapped, boxes, strips, tops, strict=False):
        middle = top + strip.shape[0] / 2 - (box[1] + box[3]) / 2  # centred on the ink, not on the line height
        draw.multiline_text((gap, middle), label, fill=INK, font=font)
    return np.asarray(picture).copy()


def png_bytes(image: Any) -> bytes:
    """An image [H, W] or [H, W, C] uint8 as a PNG file; equal images, equal bytes."""
    from PIL import Image

    image = np.asarray(image)
    image = check_images(image[None, ..., None] if image.ndim == 2 else image[None])[0]
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def write_png(path: str | os.PathLike[str], image: Any) -> Path:
    """Writes an image [H, W] or [H, W, C] uint8 as PNG, atomically; returns the path."""
    return write_atomically(path, png_bytes(image))


def enlarge(images: np.ndarray, height_px: int) -> np.ndarray:
    """Enlarges images: [N, H, W, C] to a height by the nearest pixel; the width follows."""
    _, height, width, _ = images.shape
    width_px = max(1, round(width * height_px / height))
    return images[:, np.arange(height_px) * height // height_px][:, :, np.arange(width_px) * width // width_px]


def to_rgb(images: Any, where: str = "images") -> np.ndarray:
    """Grey, RGB or RGBA images [N, H, W, C] uint8 as [N, H, W, 3] uint8; transparent ones are laid on white."""
    images = check_images(images, where)
    if images.shape[-1] == 4:
        alpha = images[..., 3:].astype(np.uint16)
        colours = images[..., :3] * alpha + WHITE * (255 - alpha)
        return ((colours + 127) // 255).astype(np.uint8)
    return np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images


def check_images(images: Any, where: str = "images") -> np.ndarray:
    """Images as a NumPy array [N, H, W, C] uint8.

    Raises:
      ValueError: another type or shape, or no images.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3, 4) or 0 in images.shape:
        raise ValueError(
            f"{where} must be uint8 [N, H, W, C] with 1, 3 or 4 channels and at least one image, "
            f"not {images.dtype.name}{list(images.shape)}; floats in [-1, 1] go through the converter first"
        )
    return images


# ----------------------------------------------------------------------------------------------------------------------
# The memorisation check: each generated image next to its nearest training image.
#
# Distances and indices come from the metrics, which know the feature space. The pairs are there to be looked at: those of
# a network that copies its 100 training images are the same picture twice.


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Pairs of images, the most suspicious (smallest distance) first."""

    generated: np.ndarray  # [n, H, W, C] uint8
    nearest: np.ndarray  # [n, H', W', C'] uint8, nearest[i] is the training image nearest to generated[i]
    distances: np.ndarray  # [n] float64
    median: float  # of the distances of all generated images, shown or not
    reference_median: float | None  # the same of real images that were not trained on; None = not measured
    closer: float | None  # probability that a generated image is nearer than such a real one; None = not measured
    total: int  # generated images that were searched
    space: str = "feature space"  # name of the space of the distances

    def summary(self) -> str:
        """The numbers in one to three sentences."""
        text = (
            f"Median distance of {self.total:,} generated images to their nearest training image, "
            f"in {self.space}: {three_digits(self.median)}."
        )
        if self.reference_median is not None:
            text += f" Real images that were not trained on: {three_digits(self.reference_median)}."
        if self.closer is not None:
            text += (
                f" A generated image is nearer than such a real one with probability {self.closer:.2f}; "
                "0.5 would be as new as real images are, 1 would be copies."
            )
        return text


def make_gallery(
    generated: Any,
    training: Any,
    indices: Any,
    distances: Any,
    *,
    n: int = 12,
    reference_distances: Any = None,
    closer: float | None = None,
    space: str = "feature space",
) -> Gallery:
    """Picks the n generated images that are nearest to a training image.

    Args:
      generated: [N, H, W, C] uint8.
      training: [M, H', W', C'] uint8, all of the training images.
      indices: [N] integers, the training image nearest to each generated one.
      distances: [N] floats, how near.
      n: pairs to show.
      reference_distances: the distances of real images outside the training set; None = unknown.
      closer: probability that a generated image is nearer to the training set than one of those; None = unknown.
      space: name of the space of the distances.
    """
    generated, training = check_images(generated, "generated"), check_images(training, "training")
    indices, distances = np.asarray(indices), np.asarray(distances, np.float64)
    for name, array in (("indices", indices), ("distances", distances)):
        if array.shape != (len(generated),):
            raise ValueError(f"{name} must hold a number for each of {len(generated)} images, not {list(array.shape)}")
    if not np.issubdtype(indices.dtype, np.integer) or indices.min() < 0 or indices.max() >= len(training):
        raise ValueError(f"indices must be integers from 0 to {len(training) - 1}, the last of the training images")
    if not np.isfinite(distances).all():
        raise ValueError(f"distance {int(np.flatnonzero(~np.isfinite(distances))[0])} is not finite")
    order = np.argsort(distances, kind="stable")[:n]
    return Gallery(
        generated=generated[order],
        nearest=training[indices[order]],
        distances=distances[order],
        median=float(np.median(distances)),
        reference_median=None if reference_distances is None else float(np.median(reference_distances)),
        closer=closer,
        total=len(generated),
        space=space,
    )


def gallery_grid(gallery: Gallery, cell_px: int = 64, columns: int = 4) -> np.ndarray:
    """The pairs as one picture [height, width, 3] uint8: generated left, nearest training image right of it."""
    left, right = (enlarge(to_rgb(images), cell_px) for images in (gallery.generated, gallery.nearest))
    return make_grid(np.concatenate([left, right], axis=2), columns=columns, padding=6)


def three_digits(value: float) -> str:
    """A number with three significant digits: `4.60`, `412`."""
    return f"{value:#.3g}".rstrip(".")
