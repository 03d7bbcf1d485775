"""Features to statistics: count, sum and sum of outer products, in float64 on the host.

Statistics of parts add up to the statistics of the whole, so a stream of batches, or the shards of several devices,
end in the same numbers: `sum((summarise(batch) for batch in stream), empty_statistics(dim))`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np


class MetricError(ValueError):
    """Features that cannot be measured; the message says which and what to change."""


@dataclasses.dataclass(frozen=True)
class Statistics:
    """First and second moments of features [n, D].

    Attributes:
      n: how many rows went in.
      total: [D] float64, the sum of the rows.
      outer: [D, D] float64, the sum of x x^T.
    """

    n: int
    total: np.ndarray
    outer: np.ndarray

    @property
    def dim(self) -> int:
        return len(self.total)

    def __add__(self, other: Statistics) -> Statistics:
        check_same_dim(self.dim, other.dim)
        return Statistics(self.n + other.n, self.total + other.total, self.outer + other.outer)

    @property
    def mean(self) -> np.ndarray:
        """[D] float64."""
        if self.n < 1:
            raise MetricError("the mean of no features does not exist; add at least one row")
        return self.total / self.n

    def covariance(self, ddof: int = 1) -> np.ndarray:
        """[D, D] float64; ddof 1 divides by n - 1 (numpy's default), ddof 0 by n (StyleGAN's choice)."""
        if ddof not in (0, 1):
            raise MetricError(f"ddof is {ddof}; use 1 to divide by n - 1 or 0 to divide by n")
        if self.n < 2:
            raise MetricError(
                f"the covariance of {self.n} sample(s) does not exist; use at least 2, and more than {self.dim}"
            )
        mean = self.mean
        return (self.outer - self.n * np.outer(mean, mean)) / (self.n - ddof)


def empty_statistics(dim: int) -> Statistics:
    """Statistics of nothing yet: where a sum starts."""
    return Statistics(0, np.zeros(dim), np.zeros((dim, dim)))


def summarise(values: Any, *, name: str = "features", first_row: int = 0) -> Statistics:
    """Statistics of features [n, D]; `name` and `first_row` are for the message if a row is not finite."""
    values = check_features(values, name, first_row).astype(np.float64)
    return Statistics(len(values), values.sum(0), values.T @ values)


def check_features(values: Any, name: str = "features", first_row: int = 0) -> np.ndarray:
    """Returns features as a numpy array [n, D], or raises `MetricError` naming the row that is not finite."""
    values = np.asarray(values)
    if values.ndim != 2 or values.shape[1] == 0:
        raise MetricError(f"{name} has shape {list(values.shape)}; features are [samples, dimensions]")
    if not np.issubdtype(values.dtype, np.floating):
        raise MetricError(f"{name} is {values.dtype}; features are floating point (images go through `extract` first)")
    bad = np.flatnonzero(~np.isfinite(values).all(1))
    if len(bad):
        row = int(bad[0])
        column = int(np.flatnonzero(~np.isfinite(values[row]))[0])
        raise MetricError(
            f"row {row + first_row} of {name} is not finite ({values[row, column]} in column {column}; "
            f"{len(bad)} such row(s) of {len(values)}); look at that image and at the weights that made it"
        )
    return values


def check_pair(real: Any, fake: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both sets of features as float64, checked: finite, of one dimension, at least two rows each."""
    pair = []
    for values, name in ((real, "real features"), (fake, "fake features")):
        values = check_features(values, name).astype(np.float64)
        if len(values) < 2:
            raise MetricError(f"{name} has {len(values)} sample(s); a distribution needs at least 2")
        pair.append(values)
    check_same_dim(pair[0].shape[1], pair[1].shape[1])
    return pair[0], pair[1]


def check_same_dim(real: int, fake: int) -> None:
    if real != fake:
        raise MetricError(f"features of {real} and of {fake} dimensions cannot be compared; use one extractor for both")
