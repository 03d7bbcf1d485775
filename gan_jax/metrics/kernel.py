"""Kernel distances between sets of features: MMD^2, and KID (Binkowski et al. 2018), its mean over subsets.

    MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y)

The unbiased estimate leaves out the diagonals of k(x, x') and k(y, y'), so that equal distributions give 0 on average at
any sample size (and single values below 0); the biased one keeps them. All is float64 and tiled. Features are centred,
so that a mean far larger than the spread costs no digits.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gan_jax.metrics.statistics import MetricError, check_pair

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]  # [n, D], [m, D] -> [n, m]


class KID(NamedTuple):
    mean: float  # over subsets
    std: float  # population standard deviation over subsets; 0 when there is only one


@dataclasses.dataclass(frozen=True)
class Polynomial:
    """(gamma x.y + coef)^degree; gamma None is 1/D."""

    degree: int = 3
    gamma: float | None = None
    coef: float = 1.0

    def __call__(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T * (1 / x.shape[1] if self.gamma is None else self.gamma) + self.coef) ** self.degree

    def about(self, centre: np.ndarray) -> Kernel:
        """The kernel of x - centre and y - centre, without its terms of x alone and of y alone.

        Those terms cancel in MMD^2, biased or unbiased. Far from the origin they are nearly all of the kernel, and
        subtracting them as numbers would lose the digits of the rest. With t = gamma centre.centre + coef,
        a = gamma centre.x, b = gamma centre.y and q = gamma x.y of the centred x and y,

            (t + a + b + q)^n - (t + a)^n - (t + b)^n + t^n = sum_{j > 0} C(n, j) (t + a + b)^(n - j) q^j
                + sum_{i, j > 0} C(n, i) C(n - i, j) t^(n - i - j) a^i b^j
        """
        n, gamma = self.degree, 1 / len(centre) if self.gamma is None else self.gamma
        base = gamma * float(centre @ centre) + self.coef

        def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            a, b, q = gamma * (x @ centre), gamma * (y @ centre), gamma * (x @ y.T)
            power_of_a = np.stack([a**i for i in range(1, n)], 1) if n > 1 else np.zeros((len(a), 0))
            cross_terms = [
                sum(math.comb(n, i) * math.comb(n - i, j) * base ** (n - i - j) * b**j for j in range(1, n - i + 1))
                for i in range(1, n)
            ]
            out = power_of_a @ np.stack(cross_terms) if cross_terms else np.zeros_like(q)
            crossed = base + a[:, None] + b[None]
            inner = np.zeros_like(q)
            for j in range(n, 0, -1):  # Horner's scheme in q, of coefficients C(n, j) crossed^(n - j)
                inner = (inner + math.comb(n, j) * crossed ** (n - j)) * q
            return out + inner

        return kernel


@dataclasses.dataclass(frozen=True)
class RBF:
    """exp(-|x - y|^2 / (2 sigma^2))."""

    sigma: float

    def __call__(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        squared = (x * x).sum(1)[:, None] + (y * y).sum(1)[None] - 2 * (x @ y.T)
        return np.exp(-np.maximum(squared, 0.0) / (2 * self.sigma**2))

    def about(self, centre: np.ndarray) -> Kernel:
        """The same kernel: it depends on differences only."""
        return self


def polynomial_kernel(degree: int = 3, gamma: float | None = None, coef: float = 1.0) -> Kernel:
    """(gamma x.y + coef)^degree; gamma None is 1/D. The defaults are KID's kernel."""
    return Polynomial(degree, gamma, coef)


def rbf_kernel(sigma: float) -> Kernel:
    """exp(-|x - y|^2 / (2 sigma^2)); CMMD is 1000 times the biased MMD^2 at sigma 10 on CLIP features."""
    return RBF(sigma)


def mmd2(real: Any, fake: Any, kernel: Kernel | None = None, *, unbiased: bool = True) -> float:
    """MMD^2 of two full sets of features [N, D] and [M, D]; kernel None is KID's."""
    x, y, kernel = _centred(*check_pair(real, fake), kernel or polynomial_kernel())
    every_x, every_y = np.ones((1, len(x))), np.ones((1, len(y)))
    return float(_mmd2_of_weights(x, y, every_x, every_y, kernel, unbiased)[0])


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
      subsets: number of subsets.
      subset_size: images of each side in a subset; None is min(N, M, 1000). If a subset holds all images of one side,
        the spread comes from the other side alone; if of both, it is 0 and no confidence interval.
      seed: of the subsets; the draws are the same on every machine and version.
      unbiased: leave the diagonal out.
      kernel: None is (x.y/D + 1)^3.
    """
    x, y = check_pair(real, fake)
    least = min(len(x), len(y))
    size = min(least, KID_SUBSET) if subset_size is None else subset_size
    if not 2 <= size <= least:
        raise MetricError(
            f"KID subsets of {size} from {len(x)} real and {len(y)} fake samples; use a subset size of 2 to {least}, "
            "or None for the largest that fits (at most 1000)"
        )
    if subsets < 1:
        raise MetricError(f"KID needs at least 1 subset, not {subsets}")
    draw_order = np.random.PCG64(seed)
    draws = [(_draw(draw_order, len(x), size), _draw(draw_order, len(y), size)) for _ in range(subsets)]
    x, y, kernel = _centred(x, y, kernel or polynomial_kernel())
    if (len(x) + len(y)) ** 2 <= subsets * (2 * size) ** 2:  # one full Gram matrix costs less than those of all subsets
        weights_x, weights_y = np.zeros((subsets, len(x))), np.zeros((subsets, len(y)))
        for row, (i, j) in enumerate(draws):
            weights_x[row, i] = weights_y[row, j] = 1
        values = _mmd2_of_weights(x, y, weights_x, weights_y, kernel, unbiased)
    else:
        every = np.ones((1, size))
        values = [_mmd2_of_weights(x[i], y[j], every, every, kernel, unbiased)[0] for i, j in draws]
    return KID(float(np.mean(values)), float(np.std(values)))


def _centred(x: np.ndarray, y: np.ndarray, kernel: Kernel) -> tuple[np.ndarray, np.ndarray, Kernel]:
    """Features about a common centre, and the kernel for them; a kernel of the user gets the features unchanged.

    The centre is a median: one far row would move a mean so far that all others lose their digits.
    """
    if not isinstance(kernel, Polynomial | RBF) or (isinstance(kernel, Polynomial) and not _is_whole(kernel.degree)):
        return x, y, kernel
    centre = np.median(x[:: -(-len(x) // CENTRE_ROWS)], axis=0)
    return x - centre, y - centre, kernel.about(centre)


def _is_whole(degree: float) -> bool:
    return degree >= 1 and int(degree) == degree


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


KID_SUBSET = 1000  # images of each side in a subset, where the sets have so many
CENTRE_ROWS = 1000  # most rows that give the centre
TILE = 1 << 22  # entries of a Gram matrix held at once: 32 MB
