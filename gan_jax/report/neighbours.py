"""The memorisation check: each generated image next to its nearest training image.

Distances and indices come from the metrics, which know the feature space. The pairs are there to be looked at: those of
a network that copies its 100 training images are the same picture twice.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from gan_jax.report.grids import check_images, enlarge, make_grid, to_rgb


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
