"""Kernel distances between sets of features: MMD^2, and KID (Binkowski et al. 2018), its mean over subsets.

    MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y)

Unbiased leaves the diagonal of k(x, x') and k(y, y') out, so equal distributions give 0 on average at any sample
size (and single values below 0); biased keeps it. Everything is float64 and tiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gan_jax.metrics.statistics import MetricError, check_pair

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]  # [n, D], [m, D] -> [n, m]


class KID(NamedTuple):
    mean: float  # over subsets
    std: float  # population standard deviation over subsets; 0 when there is only one


def polynomial_kernel(degree: int = 3, gamma: float | None = None, coef: float = 1.0) -> Kernel:
    """(gamma x.y + coef)^degree; gamma None is 1/D. The defaults are KID's kernel."""

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T * (1 / x.shape[1] if gamma is None else gamma) + coef) ** degree

    return kernel


def rbf_kernel(sigma: float) -> Kernel:
    """exp(-|x - y|^2 / (2 sigma^2)); CMMD is 1000 times the biased MMD^2 at sigma 10 on CLIP features."""

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        squared = (x * x).sum(1)[:, None] + (y * y).sum(1)[None] - 2 * (x @ y.T)
        return np.exp(-np.maximum(squared, 0.0) / (2 * sigma**2))

    return kernel


def mmd2(real: Any, fake: Any, kernel: Kernel | None = None, *, unbiased: bool = True) -> float:
    """MMD^2 of two whole sets of features [N, D] and [M, D]; kernel None is KID's."""
    x, y = check_pair(real, fake)
    every_x, every_y = np.ones((1, len(x))), np.ones((1, len(y)))
    return float(_mmd2_of_weights(x, y, every_x, every_y, kernel or polynomial_kernel(), unbiased)[0])


def kid(
    real: Any,
    fake: Any,
    *,
    subsets: int = 100,
    subset_size: int | None = None,
    seed: int = 0,
    unbiased: bool = True,
    kernel: Kernel | None = None,
) -> KID:
    """KID: mean and spread of MMD^2 over random subsets, drawn without replacement by a fixed generator.

    Args:
      real: features [N, D].
      fake: features [M, D].
      subsets: how many.
      subset_size: images of each side in a subset; None is min(N, M, 1000). With a side that a subset uses up, the
        spread is the other side's alone, and with both it is 0: no confidence interval.
      seed: of the subsets; the draws are the same on every machine and version.
      unbiased: leave the diagonal out.
      kernel: None is (x.y/D + 1)^3.
    """
    x, y = check_pair(real, fake)
    least = min(len(x), len(y))
    size = min(least, 1000) if subset_size is None else subset_size
    if not 2 <= size <= least:
        raise MetricError(
            f"KID subsets of {size} from {len(x)} real and {len(y)} fake samples; use a subset size of 2 to {least}, "
            "or None for the largest that fits (at most 1000)"
        )
    if subsets < 1:
        raise MetricError(f"KID wants at least 1 subset, not {subsets}")
    draw_order = np.random.PCG64(seed)
    draws = [(_draw(draw_order, len(x), size), _draw(draw_order, len(y), size)) for _ in range(subsets)]
    kernel = kernel or polynomial_kernel()
    if (len(x) + len(y)) ** 2 <= subsets * (2 * size) ** 2:  # the whole Gram matrix costs less than the subsets' own
        weights_x, weights_y = np.zeros((subsets, len(x))), np.zeros((subsets, len(y)))
        for row, (i, j) in enumerate(draws):
            weights_x[row, i] = weights_y[row, j] = 1
        values = _mmd2_of_weights(x, y, weights_x, weights_y, kernel, unbiased)
    else:
        every = np.ones((1, size))
        values = [_mmd2_of_weights(x[i], y[j], every, every, kernel, unbiased)[0] for i, j in draws]
    return KID(float(np.mean(values)), float(np.std(values)))


def _draw(bits: np.random.PCG64, n: int, size: int) -> np.ndarray:
    """`size` of `n` without replacement, from the raw bit stream, which numpy guarantees never to change."""
    return np.sort(np.argsort(bits.random_raw(n), kind="stable")[:size])


def _mmd2_of_weights(
    x: np.ndarray, y: np.ndarray, weights_x: np.ndarray, weights_y: np.ndarray, kernel: Kernel, unbiased: bool
) -> np.ndarray:
    """MMD^2 [S] of S subsets given as 0/1 rows weights_x [S, N] and weights_y [S, M]."""
    n, m = weights_x.sum(1), weights_y.sum(1)
    xx = _pair_sums(x, x, weights_x, weights_x, kernel, without_diagonal=unbiased)
    yy = _pair_sums(y, y, weights_y, weights_y, kernel, without_diagonal=unbiased)
    xy = _pair_sums(x, y, weights_x, weights_y, kernel, without_diagonal=False)
    return xx / (n * (n - unbiased)) + yy / (m * (m - unbiased)) - 2 * xy / (n * m)


def _pair_sums(
    x: np.ndarray,
    y: np.ndarray,
    weights_x: np.ndarray,
    weights_y: np.ndarray,
    kernel: Kernel,
    *,
    without_diagonal: bool,
) -> np.ndarray:
    """Sum over i, j of wx_i k(x_i, y_j) wy_j, for each row of weights; rows of the Gram matrix come in tiles."""
    total = np.zeros(len(weights_x))
    tile = max(1, TILE // len(y))
    for start in range(0, len(x), tile):
        rows = slice(start, start + tile)
        gram = kernel(x[rows], y)
        if without_diagonal:
            inside = np.arange(len(gram))
            gram[inside, inside + start] = 0.0
        total += ((weights_x[:, rows] @ gram) * weights_y).sum(1)
    return total


TILE = 1 << 22  # entries of a Gram matrix held at once: 32 MB
