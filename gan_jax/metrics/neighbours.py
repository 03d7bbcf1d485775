"""What nearest neighbours tell: precision and recall, density and coverage, and memorised training images.

Distances come in tiles of rows, in float64, so sets of 50,000 fit into memory.
"""

from __future__ import annotations

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
    """How close generated images come to the training images, against held-out real ones.

    Attributes:
      indices: [F] int64, the nearest training image of each fake: a gallery shows the pairs.
      distances: [F] float64, how far it is.
      held_out_distances: [H] float64, the same for real images that were not trained on.
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
      inclusive: count what lies exactly on a ball (<=, as StyleGAN's precision and recall does). Default: strictly
        inside (<, as the code of the density and coverage paper does).
    """
    x, y = check_pair(real, fake)
    for n, name in ((len(x), "real"), (len(y), "fake")):
        if not 1 <= k < n:
            raise MetricError(
                f"k is {k} for {n} {name} samples; use 1 to {n - 1}, since a sample is not its own neighbour"
            )
    centre = x.mean(0)  # smaller numbers, fewer digits lost in |x|^2 + |y|^2 - 2 x.y
    x, y = x - centre, y - centre
    real_radius, fake_radius = _kth_neighbour(x, k), _kth_neighbour(y, k)
    # Rounding must not decide what lies on a ball: the same distance comes out of two products a digit apart.
    slack = EQUAL * ((x * x).sum(1).max() + (y * y).sum(1).max()) * (1 if inclusive else -1)
    within = np.less_equal if inclusive else np.less
    in_real_balls = np.zeros(len(y))
    recalled, covered = [], []
    for rows, squared in _tiles(x, y):
        inside = within(squared, real_radius[rows, None] + slack)
        in_real_balls += inside.sum(0)
        covered.append(inside.any(1))
        recalled.append(within(squared, fake_radius[None] + slack).any(1))
    return PRDC(
        precision=float((in_real_balls > 0).mean()),
        recall=float(np.concatenate(recalled).mean()),
        density=float(in_real_balls.mean() / k),
        coverage=float(np.concatenate(covered).mean()),
    )


def nearest(query: Any, bank: Any) -> tuple[np.ndarray, np.ndarray]:
    """The nearest row of `bank` [M, D] for each row of `query` [N, D]: indices [N] int64 and distances [N] float64."""
    query, bank = (check_features(v, name).astype(np.float64) for v, name in ((query, "queries"), (bank, "the bank")))
    check_same_dim(bank.shape[1], query.shape[1])
    if len(query) == 0 or len(bank) == 0:
        raise MetricError(f"{len(query)} queries and a bank of {len(bank)}: both need at least one row")
    centre = bank.mean(0)
    found = [(squared.argmin(1), squared.min(1)) for _, squared in _tiles(query - centre, bank - centre)]
    return np.concatenate([index for index, _ in found]), np.sqrt(np.concatenate([squared for _, squared in found]))


def memorisation(fake: Any, train: Any, held_out: Any | None) -> Memorisation:
    """Compares the way from fakes to the training set with the way from held-out images to it.

    Args:
      fake: generated images as features [F, D], or as pixels (`as_vectors`).
      train: what was trained on, in the same space, [N, D].
      held_out: real images of the same kind that were not trained on, [H, D]; None = there are none, and the training
        images' distances to each other take their place.
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
    return np.sqrt(_kth_neighbour(x - x.mean(0), 1))


def as_vectors(images: Any) -> np.ndarray:
    """Images uint8 [N, H, W, C] as rows [N, H W C] float64 in 0 .. 1, for neighbours in pixel space."""
    images = np.asarray(images)
    if images.ndim != 4 or images.dtype != np.uint8:
        raise MetricError(f"images are {images.dtype.name}{list(images.shape)}; pixel space takes uint8 [N, H, W, C]")
    return images.reshape(len(images), -1) / 255.0


def _kth_neighbour(x: np.ndarray, k: int) -> np.ndarray:
    """Squared distance [N] of each row to its k-th nearest other row (itself is the 0-th)."""
    return np.concatenate([np.partition(squared, k, axis=1)[:, k] for _, squared in _tiles(x, x)])


def _tiles(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Squared distances of a slice of rows of x [N, D] to all of y [M, D], slice by slice."""
    norms_x, norms_y = (x * x).sum(1), (y * y).sum(1)
    tile = max(1, TILE // len(y))
    for start in range(0, len(x), tile):
        rows = slice(start, start + tile)
        scale = norms_x[rows, None] + norms_y[None]
        squared = scale - 2 * (x[rows] @ y.T)
        # Equal rows shall be at distance 0, whatever order the matrix product adds in.
        yield rows, np.where(squared > EQUAL * scale, squared, 0.0)


TILE = 1 << 22  # distances held at once: 32 MB
EQUAL = 1e-13  # squared distance, relative to the squared norms, that is rounding
