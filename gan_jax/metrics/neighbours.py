"""Metrics from nearest neighbours: precision and recall, density and coverage, and memorised training images.

Distances are computed in tiles of rows, in float64, so that sets of 50,000 fit into memory. They come from matrix
products, whose rounding grows with the norms of the two rows. Where the rounding could decide, the distance is computed
again from the difference of the rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from gan_jax.metrics.statistics import MetricError, check_features, check_pair, check_same_dim


class PRDC(NamedTuple):
    precision: float  # share of fakes inside some real ball
    recall: float  # share of reals inside some fake ball
    density: float  # real balls around a fake, over k; can exceed 1
    coverage: float  # share of reals whose ball holds a fake


class Memorisation(NamedTuple):
    """Distances of generated images to the training images, compared with those of held-out real ones.

    Attributes:
      indices: [F] int64, the nearest training image of each fake: a gallery shows the pairs.
      distances: [F] float64, distance of each fake to it.
      held_out_distances: [H] float64, distances of real images that were not trained on.
      ratio: median of `distances` over median of `held_out_distances`; about 1 is new, near 0 is copied.
      closer: probability that a fake is nearer to the training set than a held-out image is; 0.5 is new, 1 copied.
    """

    indices: np.ndarray
    distances: np.ndarray
    held_out_distances: np.ndarray
    ratio: float
    closer: float


def prdc(real: Any, fake: Any, k: int = 5, *, inclusive: bool = False) -> PRDC:
    """Precision, recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020).

    A sample's ball reaches to its k-th nearest neighbour in its own set, not counting itself.

    Args:
      real: features [N, D].
      fake: features [M, D].
      k: neighbours. 5 is usual for all four; the precision and recall paper has 3.
      inclusive: also count samples exactly on a ball (<=, as the precision and recall of StyleGAN, torch-fidelity and
        piq do). Default: strictly inside (<, as the code of the density and coverage paper does).

    Warns:
      EmptyBalls: samples that are more than k times in their own set. Their balls have radius 0, and no sample is
        strictly inside; with `inclusive` their exact copies are.
    """
    numbers, *empty = prdc_and_empty(real, fake, k, inclusive)
    if not inclusive:
        for count, n, name in zip(empty, (len(real), len(fake)), ("real", "generated")):
            if count:
                sentence = (
                    f"{empty_balls(count, n, name, k)}, or use a k of at least the number of copies of one image "
                    f"(inclusive=True counts exact copies alone)"
                )
                warnings.warn(sentence, EmptyBalls, stacklevel=2)
    return numbers


def prdc_and_empty(real: Any, fake: Any, k: int, inclusive: bool = False) -> tuple[PRDC, int, int]:
    """`prdc`, and the numbers of balls of real and of generated samples with radius 0."""
    x, y = check_pair(real, fake)
    for n, name in ((len(x), "real"), (len(y), "fake")):
        if not 1 <= k < n:
            raise MetricError(
                f"k is {k} for {n} {name} samples; use 1 to {n - 1}, since a sample is not its own neighbour"
            )
    x, y = _centred(x, y)
    real_radius, fake_radius = _kth_neighbour(x, k), _kth_neighbour(y, k)
    in_real_balls = np.zeros(len(y))
    recalled, covered = [], []
    for rows, squared, scale in _tiles(x, y):
        inside = _inside(squared, scale, real_radius[rows, None], inclusive, x[rows], y)
        in_real_balls += inside.sum(0)
        covered.append(inside.any(1))
        recalled.append(_inside(squared, scale, fake_radius[None], inclusive, x[rows], y).any(1))
    numbers = PRDC(
        precision=float((in_real_balls > 0).mean()),
        recall=float(np.concatenate(recalled).mean()),
        density=float(in_real_balls.mean() / k),
        coverage=float(np.concatenate(covered).mean()),
    )
    return numbers, int((real_radius == 0).sum()), int((fake_radius == 0).sum())


class EmptyBalls(UserWarning):
    """Samples with k equal neighbours: no sample is strictly inside their balls."""


def empty_balls(count: int, n: int, name: str, k: int) -> str:
    """A sentence on balls of radius 0: the numbers that they lower, and the remedy."""
    lowered, remedy = {
        "real": ("precision, density and coverage are", "take copies out of the real images"),
        "generated": (
            "recall is",
            "G makes too few different images (mode collapse), or the set has copies to take out",
        ),
    }[name]
    return (
        f"{count} of {n} {name} samples lie more than {k} times in their set, and nothing lies inside their balls: {lowered} "
        f"lower for it; {remedy}"
    )


def nearest(query: Any, bank: Any) -> tuple[np.ndarray, np.ndarray]:
    """The nearest row of `bank` [M, D] for each row of `query` [N, D]: indices [N] int64 and distances [N] float64."""
    query, bank = (check_features(v, name).astype(np.float64) for v, name in ((query, "queries"), (bank, "the bank")))
    check_same_dim(bank.shape[1], query.shape[1])
    if len(query) == 0 or len(bank) == 0:
        raise MetricError(f"{len(query)} queries and a bank of {len(bank)}: both need at least one row")
    query, bank = _centred(query, bank)
    index = np.concatenate([squared.argmin(1) for _, squared, _ in _tiles(query, bank)])
    return index, np.sqrt(_apart(query, bank, np.arange(len(query)), index))


def memorisation(fake: Any, train: Any, held_out: Any | None) -> Memorisation:
    """Compares the distances from fakes to the training set with those from held-out images to it.

    Args:
      fake: generated images as features [F, D], or as pixels (`as_vectors`).
      train: training images in the same space, [N, D].
      held_out: real images of the same kind that were not trained on, [H, D]; None = there are none, and the distances
        of the training images to each other take their place.
    """
    indices, distances = nearest(fake, train)
    held_out_distances = _among(train) if held_out is None else nearest(held_out, train)[1]
    usual = float(np.median(held_out_distances))
    if usual == 0.0:
        raise MetricError(
            "half of the held-out images are in the training set, or it is full of copies; take them out, or the ratio "
            "says nothing"
        )
    ordered = np.sort(held_out_distances)
    below, upto = (np.searchsorted(ordered, distances, side) for side in ("left", "right"))
    closer = 1 - float((below + upto).mean()) / (2 * len(ordered))  # a tie counts half
    return Memorisation(indices, distances, held_out_distances, float(np.median(distances)) / usual, closer)


def _among(train: Any) -> np.ndarray:
    """Distance [N] of each row to its nearest other row."""
    x = check_features(train, "the training images").astype(np.float64)
    if len(x) < 2:
        raise MetricError(f"{len(x)} training images have no distance to each other; give held-out images")
    x, _ = _centred(x, x)
    return np.sqrt(_kth_neighbour(x, 1))


def as_vectors(images: Any) -> np.ndarray:
    """Images uint8 [N, H, W, C] as rows [N, H W C] float64 in 0 .. 1, for neighbours in pixel space."""
    images = np.asarray(images)
    if images.ndim != 4 or images.dtype != np.uint8:
        raise MetricError(f"images are {images.dtype.name}{list(images.shape)}; pixel space takes uint8 [N, H, W, C]")
    return images.reshape(len(images), -1) / 255.0


def _centred(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows about the median of y: smaller numbers, fewer digits lost in products. No far row moves a median."""
    centre = np.median(y, axis=0)
    return x - centre, y - centre


def _kth_neighbour(x: np.ndarray, k: int) -> np.ndarray:
    """Squared distance [N] of each row to its k-th nearest other row (itself is the 0-th)."""
    most = min(k + SPARE, len(x) - 1)
    radii = []
    for rows, squared, _ in _tiles(x, x):
        near = np.argpartition(squared, most, axis=1)[:, : most + 1]  # rounding may have exchanged a few of them
        inside = np.arange(rows.start, rows.start + len(near)).repeat(near.shape[1])
        exact = _apart(x, x, inside, near.reshape(-1)).reshape(near.shape)
        radii.append(np.partition(exact, k, axis=1)[:, k])
    return np.concatenate(radii)


def _inside(
    squared: np.ndarray, scale: np.ndarray, radius: np.ndarray, inclusive: bool, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Which pairs [n, M] lie within a squared radius, [n, 1] or [1, M]; pairs that rounding could decide are recomputed."""
    inside = squared < radius
    rows, columns = np.nonzero(np.abs(squared - radius) <= EQUAL * (scale + radius))
    if len(rows):
        exact = _apart(x, y, rows, columns)
        limit = np.broadcast_to(radius, squared.shape)[rows, columns]
        # Equal lengths from different differences are a few digits apart.
        inside[rows, columns] = exact <= limit * (1 + EQUAL) if inclusive else exact < limit * (1 - EQUAL)
    return inside


def _apart(x: np.ndarray, y: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Squared distances [P] of pairs of rows, from their differences: equal rows are at exactly 0."""
    part = max(1, TILE // x.shape[1])
    pieces = range(0, len(rows), part)
    return np.concatenate(
        [np.square(x[rows[i : i + part]] - y[columns[i : i + part]]).sum(1) for i in pieces] or [np.zeros(0)]
    )


def _tiles(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """A slice of rows of x [N, D], their squared distances [n, M] to all of y, and the squared norms added [n, M]."""
    norms_x, norms_y = (x * x).sum(1), (y * y).sum(1)
    tile = max(1, TILE // len(y))
    for start in range(0, len(x), tile):
        rows = slice(start, start + tile)
        scale = norms_x[rows, None] + norms_y[None]
        yield rows, np.maximum(scale - 2 * (x[rows] @ y.T), 0.0), scale


TILE = 1 << 22  # distances held at once: 32 MB
EQUAL = 1e-13  # squared distance, relative to the squared norms, that is rounding
SPARE = 8  # neighbours beyond the k-th whose distances are recomputed
