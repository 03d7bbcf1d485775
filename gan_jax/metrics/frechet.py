"""Frechet distance between two Gaussians fitted to features (the formula of FID; Heusel et al. 2017).

    FD = |mean_a - mean_b|^2 + Tr(A + B - 2 (A B)^(1/2))

The trace of the root is the sum of singular values of A^(1/2) B^(1/2), from symmetric eigen-decompositions: no imaginary
part can arise. A negative eigenvalue counts as rounding, and as 0, up to `NEGATIVE_TOLERANCE` of the largest one. Beyond
that the matrix is no covariance, which is an error.
"""

from __future__ import annotations

import numpy as np

from gan_jax.metrics.statistics import MetricError, Statistics, check_same_dim


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
