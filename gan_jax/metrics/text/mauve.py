"""MAUVE (Pillutla et al. 2021): how alike the distributions of two sets of texts are, from features of a language model.

Features of both sets are clustered together; each set then is a histogram of clusters, P and Q. For mixtures
R = w P + (1 - w) Q the curve has the points (exp(-c KL(Q | R)), exp(-c KL(P | R))) with c = 5, and MAUVE is the area under it:
1 for equal histograms, near 0 for disjoint ones. `mauve_star` is that of histograms with half a count more in every cluster, and
the frontier integral (Liu et al. 2021) is a smaller-is-better number from the same histograms (both in Pillutla et al. 2023).

All after the clusters is exact. The clusters depend on the start of k-means, on k and on the features: compare numbers of one
protocol only. Settings are those of the package mauve-text: rows of length 1, principal components of 0.9 of the variance, one
cluster for ten texts. Its k-means has other starts and float32. Its area of two equal histograms may be 0.75, from an order of
equal points that sorting leaves open; here it is 1.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from gan_jax.metrics.statistics import MetricError, check_features, check_same_dim

POINTS, SCALING = 25, 5.0  # mixtures on the curve, and c
MARGIN = 1e-6  # between the outermost weights and 0 and 1
VARIANCE = 0.9  # of the features, that principal components keep
RESTARTS, ITERATIONS = 5, 500  # of k-means


@dataclasses.dataclass(frozen=True)
class Mauve:
    """MAUVE and its relatives.

    Attributes:
      mauve: 0 to 1; larger is more alike.
      mauve_star: of histograms with half a count more in every cluster.
      frontier_integral: 0 to 1; smaller is more alike.
      frontier_integral_star: likewise of the smoothed histograms.
      p_counts, q_counts: texts of each set in each cluster, int64 `[k]`.
      curve: points from (1, 0) to (0, 1), float64 `[points + 2, 2]`.
    """

    mauve: float
    mauve_star: float
    frontier_integral: float
    frontier_integral_star: float
    p_counts: np.ndarray
    q_counts: np.ndarray
    curve: np.ndarray


def mauve(
    p_features: Any,
    q_features: Any,
    *,
    clusters: int | None = None,
    variance: float = VARIANCE,
    scaling: float = SCALING,
    points: int = POINTS,
    restarts: int = RESTARTS,
    iterations: int = ITERATIONS,
    seed: int = 0,
) -> Mauve:
    """MAUVE of two sets of features.

    Args:
      p_features: `[N, D]`, of one set, say human texts: in the paper the last hidden state of GPT-2 at the last token.
      q_features: `[M, D]`, of the other.
      clusters: k; None = a tenth of the smaller set, at least 2.
      variance: share of the variance that principal components keep.
      scaling: c of the curve.
      points: mixtures on the curve.
      restarts: starts of k-means, of which the best is kept.
      iterations: most iterations of each.
      seed: of the starts.

    Raises:
      MetricError: features or options that cannot be used, or fewer texts than clusters.
    """
    p, q = (
        check_features(x, name).astype(np.float64)
        for x, name in ((p_features, "p_features"), (q_features, "q_features"))
    )
    check_same_dim(p.shape[1], q.shape[1])
    for features, name in ((p, "p_features"), (q, "q_features")):
        if len(features) == 0:
            raise MetricError(f"{name} is empty; give at least one row")
    k = default_clusters(len(p), len(q)) if clusters is None else clusters
    _check_count(k, "clusters", 1)
    _check_count(restarts, "restarts", 1)
    _check_count(iterations, "iterations", 1)
    _check_curve(scaling, points)
    if k > len(p) + len(q):
        raise MetricError(f"{k} clusters of {len(p) + len(q)} texts; use at most as many clusters as texts")
    if not 0 < variance <= 1:
        raise MetricError(f"variance is {variance}; the share that components keep is above 0, and 1 at most")
    rows = principal_components(np.concatenate([p, q]), variance)
    labels = k_means(rows, k, restarts=restarts, iterations=iterations, seed=seed)
    counts = [np.bincount(part, minlength=k) for part in (labels[: len(p)], labels[len(p) :])]
    return mauve_of_counts(*counts, scaling=scaling, points=points)


def mauve_of_counts(p_counts: Any, q_counts: Any, *, scaling: float = SCALING, points: int = POINTS) -> Mauve:
    """MAUVE of two histograms: counts `[k]` of the same clusters."""
    p, q = _check_histograms(p_counts, q_counts)
    if not all(np.equal(x, np.round(x)).all() for x in (p, q)):
        raise MetricError("counts are integers; of shares, curve_area(divergence_curve(p, q)) is MAUVE")
    curve = divergence_curve(p, q, scaling=scaling, points=points)
    smooth_curve = divergence_curve(p + 0.5, q + 0.5, scaling=scaling, points=points)
    return Mauve(
        curve_area(curve),
        curve_area(smooth_curve),
        frontier_integral(p, q),
        frontier_integral(p + 0.5, q + 0.5),
        p.astype(np.int64),
        q.astype(np.int64),
        curve,
    )


def default_clusters(n: int, m: int) -> int:
    """Clusters of sets of n and m texts: a tenth of the smaller, at least 2."""
    return max(2, round(min(n, m) / 10))


def divergence_curve(p: Any, q: Any, *, scaling: float = SCALING, points: int = POINTS) -> np.ndarray:
    """Points (exp(-c KL(Q | R)), exp(-c KL(P | R))) from (1, 0) over mixtures R to (0, 1), float64 `[points + 2, 2]`.

    Args:
      p: histogram `[k]`; it is divided by its sum.
      q: histogram of the same clusters.
      scaling: c.
      points: mixtures, with weights of P from 1e-6 to 1 - 1e-6.
    """
    p, q = _check_histograms(p, q)
    _check_curve(scaling, points)
    p, q = p / p.sum(), q / q.sum()
    weights = np.linspace(MARGIN, 1 - MARGIN, points)[:, None]
    mixtures = weights * p + (1 - weights) * q
    inner = np.exp(-scaling * np.stack([_divergence(q, mixtures), _divergence(p, mixtures)], 1))
    return np.concatenate([[[1.0, 0.0]], inner, [[0.0, 1.0]]])


def curve_area(curve: np.ndarray) -> float:
    """The area under a curve: the mean of the trapezoids over x and over y, 0 to 1."""
    return float(np.mean([_trapezoids(*curve.T), _trapezoids(*curve.T[::-1])]))


def frontier_integral(p: Any, q: Any) -> float:
    """The frontier integral of two histograms `[k]`, times 2, so that disjoint ones have about 1; 0 for equal ones.

    A cluster adds (p + q) / 2 - p q log(p / q) / (p - q).
    """
    p, q = _check_histograms(p, q)
    p, q = p / p.sum(), q / q.sum()
    small, large = np.minimum(p, q), np.maximum(p, q)
    logarithmic = np.zeros_like(p)  # the limit where one of them is 0
    ratio = np.divide(large - small, small, out=np.zeros_like(p), where=small > 0)  # digits of small differences stay
    np.divide(large * np.log1p(ratio), ratio, out=logarithmic, where=ratio > 0)
    logarithmic[(small > 0) & (ratio == 0)] = large[(small > 0) & (ratio == 0)]
    return float(((p + q) / 2 - logarithmic).sum())


def principal_components(features: np.ndarray, variance: float = VARIANCE) -> np.ndarray:
    """Rows of length 1, centred, in the first components that have this share of the variance: float64 `[N, d]`."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    rows = features / np.where(lengths > 0, lengths, 1.0)
    rows = rows - rows.mean(0)
    values, vectors = np.linalg.eigh(rows.T @ rows)
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    if values.sum() == 0:
        return rows[:, :1]
    d = int(np.argmax(np.cumsum(values) / values.sum() >= variance - 1e-12)) + 1
    return rows @ vectors[:, :d]


def k_means(
    rows: np.ndarray, k: int, *, restarts: int = RESTARTS, iterations: int = ITERATIONS, seed: int = 0
) -> np.ndarray:
    """Labels `[N]` of k clusters of rows `[N, d]`: Lloyd's algorithm from k-means++ starts, the best of several.

    A cluster that loses all its rows starts again at the row that is farthest from its centre.
    """
    random = np.random.default_rng(seed)
    best, least = np.zeros(len(rows), np.int64), np.inf
    for _ in range(restarts):
        centres = _starts(rows, k, random)
        labels = np.full(len(rows), -1)
        for _ in range(iterations):
            nearest, distances = _nearest_centres(rows, centres)
            if (nearest == labels).all():
                break
            labels = nearest
            sizes = np.bincount(labels, minlength=k)
            by_label = rows[np.argsort(labels, kind="stable")]
            filled = np.flatnonzero(sizes)
            begins = np.cumsum(sizes)[filled] - sizes[filled]
            centres[filled] = np.add.reduceat(by_label, begins, axis=0) / sizes[filled, None]
            empty = np.flatnonzero(sizes == 0)
            centres[empty] = rows[np.argsort(-distances, kind="stable")[: len(empty)]]
        labels, distances = _nearest_centres(rows, centres)
        if distances.sum() < least:
            best, least = labels, distances.sum()
    return best


def _starts(rows: np.ndarray, k: int, random: np.random.Generator) -> np.ndarray:
    """Centres `[k, d]` at rows, each drawn by the squared distance from those before (k-means++, Arthur, Vassilvitskii 2007)."""
    squares = np.square(rows).sum(1)
    chosen = [int(random.integers(len(rows)))]
    distances = np.full(len(rows), np.inf)
    while len(chosen) < k:
        last = chosen[-1]
        sums = squares + squares[last]
        apart = sums - rows @ (2 * rows[last])
        distances = np.minimum(distances, np.where(apart > EQUAL * sums, apart, 0.0))
        total = distances.sum()
        share = distances / total if total > 0 else None
        chosen.append(int(random.choice(len(rows), p=share)))
    return rows[chosen]


def _nearest_centres(rows: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest centre of each row `[N]`, and the squared distance from it."""
    labels, squares, twice = np.empty(len(rows), np.int64), np.square(centres).sum(1), 2 * centres.T
    for start in range(0, len(rows), ROWS):
        part = rows[start : start + ROWS]
        labels[start : start + ROWS] = (squares[None] - part @ twice).argmin(1)
    return labels, np.square(rows - centres[labels]).sum(1)


ROWS = 4096  # of one block of distances
EQUAL = 1e-12  # squared distance of equal rows over the sum of their squares, from rounding


def _divergence(p: np.ndarray, mixtures: np.ndarray) -> np.ndarray:
    """KL(p | mixture) of each mixture `[n, k]` -> `[n]`; a mixture is positive where p is."""
    inside = p > 0
    return (p[inside] * np.log(p[inside] / mixtures[:, inside])).sum(1)


def _trapezoids(x: np.ndarray, y: np.ndarray) -> float:
    order = np.lexsort((-y, x))  # of points above each other the highest first: the curve falls
    return float(np.trapezoid(y[order], x[order]))


def _check_histograms(p: Any, q: Any) -> tuple[np.ndarray, np.ndarray]:
    p, q = np.asarray(p, np.float64), np.asarray(q, np.float64)
    if p.ndim != 1 or p.shape != q.shape or len(p) == 0:
        raise MetricError(
            f"histograms of shapes {list(p.shape)} and {list(q.shape)}; give two of the same clusters [k]"
        )
    for histogram in (p, q):
        if not np.isfinite(histogram).all() or (histogram < 0).any() or histogram.sum() <= 0:
            raise MetricError("a histogram has finite numbers, none below 0 and one above")
    return p, q


def _check_curve(scaling: Any, points: Any) -> None:
    _check_count(points, "points", 2)
    if not 0 < scaling < np.inf:
        raise MetricError(f"scaling is {scaling}; it is a number above 0 ({SCALING:g} as published)")


def _check_count(value: Any, name: str, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise MetricError(f"{name} is {value!r}; it is an integer from {least}")
