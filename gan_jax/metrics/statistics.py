"""Statistics of features in float64, and the Frechet distance between two of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

# ----------------------------------------------------------------------------------------------------------------------
# Statistics of features: count, mean and scatter about the mean, in float64 on the host.
#
# Statistics of parts add up to those of the full set, so that a stream of batches, or the shards of several devices, give
# the same numbers: `sum((summarise(batch) for batch in stream), empty_statistics(dim))`. Sums of squares are never
# subtracted from each other. So a mean far larger than the spread costs no digits, and equal rows have a covariance of
# exactly 0.


class MetricError(ValueError):
    """Features that cannot be measured; the message says which and what to change."""


@dataclasses.dataclass(frozen=True)
class Statistics:
    """First and second moments of features [n, D].

    Attributes:
      n: number of rows.
      centre: [D] float64, the mean of the rows; zeros where there is none.
      scatter: [D, D] float64, the sum of (x - centre) (x - centre)^T.
    """

    n: int
    centre: np.ndarray
    scatter: np.ndarray

    @property
    def dim(self) -> int:
        return len(self.centre)

    @property
    def total(self) -> np.ndarray:
        """[D] float64, the sum of the rows."""
        return self.n * self.centre

    @property
    def outer(self) -> np.ndarray:
        """[D, D] float64, the sum of x x^T, as other programs store it; a large mean may hide the spread."""
        return self.scatter + self.n * np.outer(self.centre, self.centre)

    def __add__(self, other: Statistics) -> Statistics:
        check_same_dim(self.dim, other.dim)
        n = self.n + other.n
        if 0 in (self.n, other.n):
            return self if other.n == 0 else other
        apart = other.centre - self.centre
        between = np.outer(apart, apart) * (self.n * other.n / n)
        return Statistics(n, self.centre + apart * (other.n / n), self.scatter + other.scatter + between)

    @property
    def mean(self) -> np.ndarray:
        """[D] float64, the mean of the rows."""
        if self.n < 1:
            raise MetricError("the mean of no features does not exist; add at least one row")
        return self.centre

    def covariance(self, ddof: int = 1) -> np.ndarray:
        """[D, D] float64; ddof 1 divides by n - 1 (numpy's default), ddof 0 by n (StyleGAN's choice)."""
        if ddof not in (0, 1):
            raise MetricError(f"ddof is {ddof}; use 1 to divide by n - 1 or 0 to divide by n")
        if self.n < 2:
            raise MetricError(
                f"the covariance of {self.n} sample(s) does not exist; use at least 2, and more than {self.dim}"
            )
        return self.scatter / (self.n - ddof)


def empty_statistics(dim: int) -> Statistics:
    """Statistics of no rows: the start of a sum."""
    return Statistics(0, np.zeros(dim), np.zeros((dim, dim)))


def summarise(values: Any, *, name: str = "features", first_row: int = 0) -> Statistics:
    """Statistics of features [n, D]; `name` and `first_row` are for the message if a row is not finite."""
    values = check_features(values, name, first_row).astype(np.float64)
    if len(values) == 0:
        return empty_statistics(values.shape[1])
    start = values[0]
    values = values - start  # the mean of small numbers is exact to the last digits of the features
    shift = values.mean(0)
    values -= shift
    return Statistics(len(values), start + shift, values.T @ values)


def check_features(values: Any, name: str = "features", first_row: int = 0) -> np.ndarray:
    """Features as a numpy array [n, D] of float32 or float64; half precision becomes float32.

    Raises:
      MetricError: another shape or dtype, or a row that is not finite; the message names the row.
    """
    values = np.asarray(values)
    if values.ndim != 2 or values.shape[1] == 0:
        raise MetricError(f"{name} has shape {list(values.shape)}; features are [samples, dimensions]")
    if not jnp.issubdtype(values.dtype, jnp.floating):
        raise MetricError(f"{name} is {values.dtype}; features are floating point (images go through `extract` first)")
    if values.dtype.itemsize < 4:  # bfloat16, float16, float8
        values = values.astype(np.float32)
    if values.dtype.itemsize > 4 and (largest := np.abs(values).max(initial=0.0)) > LARGEST and np.isfinite(largest):
        raise MetricError(
            f"{name} has a value of magnitude {largest:.3g}, beyond what float32 holds; its powers would overflow"
        )
    bad = np.flatnonzero(~np.isfinite(values).all(1))
    if len(bad):
        row = int(bad[0])
        column = int(np.flatnonzero(~np.isfinite(values[row]))[0])
        raise MetricError(
            f"row {row + first_row} of {name} is not finite ({values[row, column]} in column {column}; "
            f"{len(bad)} such row(s) of {len(values)}); look at that image and at the weights that made it"
        )
    return values


LARGEST = float(np.finfo(np.float32).max)  # of a feature; kernels take its sixth power


def check_pair(real: Any, fake: Any) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of features as float64, after checks: finite, of one dimension, at least two rows each."""
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


# ----------------------------------------------------------------------------------------------------------------------
# Frechet distance between two Gaussians fitted to features (the formula of FID; Heusel et al. 2017).
#
#     FD = |mean_a - mean_b|^2 + Tr(A + B - 2 (A B)^(1/2))
#
# The trace of the root is the sum of singular values of A^(1/2) B^(1/2), from symmetric eigen-decompositions: no imaginary
# part can arise. A negative eigenvalue counts as rounding, and as 0, up to `NEGATIVE_TOLERANCE` of the largest one. Beyond
# that the matrix is no covariance, which is an error.


def frechet_distance(a: Statistics, b: Statistics, *, ddof: int = 1, allow_singular: bool = False) -> float:
    """Frechet distance from two sets of statistics.

    Args:
      a: statistics of one set, say of real features.
      b: statistics of the other.
      ddof: 1 (default, numpy.cov and most FID code) divides covariances by n - 1; 0 by n (StyleGAN).
      allow_singular: also take sets of no more samples than dimensions. Their covariance is singular and the
        distance far too large: only numbers of equal n and D may then be compared.

    Raises:
      MetricError: too few samples, different dimensions.
    """
    check_same_dim(a.dim, b.dim)
    for stats, name in ((a, "first"), (b, "second")):
        if 2 <= stats.n <= stats.dim and not allow_singular:
            raise MetricError(
                f"the {name} set has {stats.n} samples of {stats.dim} dimensions, so its covariance is singular and the "
                f"Frechet distance badly biased; use more than {stats.dim} samples, report KID (unbiased at any size), or "
                "pass allow_singular (fd_allow_singular in the protocol) and compare only numbers of equal sizes"
            )
    return frechet_from_moments(a.mean, a.covariance(ddof), b.mean, b.covariance(ddof))


def frechet_from_moments(mean_a: np.ndarray, cov_a: np.ndarray, mean_b: np.ndarray, cov_b: np.ndarray) -> float:
    """Frechet distance of N(mean_a, cov_a) and N(mean_b, cov_b); means [D], covariances [D, D]."""
    difference = np.asarray(mean_a, np.float64) - np.asarray(mean_b, np.float64)
    root_a, root_b = _root(cov_a, "first"), _root(cov_b, "second")
    traces = float(np.trace(cov_a) + np.trace(cov_b))
    cross = float(np.linalg.svd(root_a @ root_b, compute_uv=False).sum())
    spread = traces - 2 * cross
    if spread < -NEGATIVE_TOLERANCE * max(traces, 1e-300):
        raise MetricError(
            f"the trace term is {spread:.3g}, below zero by more than rounding; the covariances are damaged"
        )
    return float(difference @ difference) + max(spread, 0.0)


def _root(cov: np.ndarray, name: str) -> np.ndarray:
    """Symmetric square root of a covariance [D, D]."""
    eigenvalues, vectors = np.linalg.eigh(np.asarray(cov, np.float64))
    largest = max(float(eigenvalues[-1]), 0.0)
    if eigenvalues[0] < -NEGATIVE_TOLERANCE * largest or (largest == 0.0 and eigenvalues[0] < 0.0):
        raise MetricError(
            f"the covariance of the {name} set has eigenvalue {eigenvalues[0]:.3g}, the largest is {largest:.3g}: "
            "below zero by more than rounding; accumulate in float64 and check the features' mean against their spread"
        )
    # Eigenvalues below the resolution of float64 are zero: their roots would be noise of half the digits.
    eigenvalues = np.where(eigenvalues > len(eigenvalues) * np.finfo(np.float64).eps * largest, eigenvalues, 0.0)
    return (vectors * np.sqrt(eigenvalues)) @ vectors.T


NEGATIVE_TOLERANCE = 1e-6  # of the largest eigenvalue; published code forgives 1e-3 of imaginary part
