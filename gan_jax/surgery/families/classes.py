"""Which source classes each target class starts from: by hand, by prototypes, or as fitted combinations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gan_jax.surgery.ops.arrays import OpError, Shape

Start = Any  # an index, -1 for the mean of all, a list of indices to average, or a list of coefficients (floats)


def class_steps(classes: Sequence[Start], old: int, new: int) -> list[tuple[str, dict[str, Any]]]:
    """The operation on a class axis 0: a choice of rows where each class starts from one, else a mixture.

    Args:
      classes: one entry for each target class.
      old: number of source classes.
      new: number of target classes.
    """
    if len(classes) != new:
        raise OpError(f"classes names {len(classes)} source classes for {new} target classes; name one for each")
    plain = [entry.tolist() if isinstance(entry, (np.ndarray, np.generic)) else entry for entry in classes]
    if all(isinstance(entry, int) for entry in plain):
        return [("gather", {"axis": 0, "index": plain})] if plain != list(range(old)) or old != new else []
    return [("mix", {"axis": 0, "matrix": [_row(entry, old) for entry in plain]})]


def _row(entry: Start, old: int) -> list[float]:
    entries = list(entry) if isinstance(entry, (list, tuple)) else [entry]
    if entries and all(isinstance(x, float) for x in entries):
        if len(entries) != old or abs(sum(entries) - 1) > 1e-3:
            raise OpError(f"coefficients {entries} of a class need {old} numbers, one for each source class, of sum 1")
        return entries
    if not entries or any(not isinstance(x, int) or not -1 <= x < old for x in entries):
        raise OpError(f"{entry!r} is no start for a class: use indices from 0 to {old - 1}, -1 for the mean, or floats")
    index = list(range(old)) if entries == [-1] else entries
    if -1 in index:
        raise OpError(f"{entry!r} mixes -1, the mean of all classes, with single ones; name them")
    return [index.count(i) / len(index) for i in range(old)]


def nearest_classes(old: Any, new: Any) -> list[int]:
    """For each target class the nearest source class, for the argument `classes`.

    Args:
      old: prototypes of the source classes `[K_old, F]`, such as mean features of their images.
      new: prototypes of the target classes `[K_new, F]`, of the same features.
    """
    old, new = _prototypes(old, new)
    distance = (new * new).sum(1)[:, None] - 2 * new @ old.T + (old * old).sum(1)[None]
    return [int(i) for i in distance.argmin(axis=1)]


def fit_classes(old: Any, new: Any, ridge: float = 1e-3) -> list[list[float]]:
    """For each target class the combination of source classes nearest to its prototype, for the argument `classes`.

    Least squares, rows summing to one: `min |new - A old|^2 + ridge * scale * |A - 1/K|^2` with `A 1 = 1`, where `scale`
    is the mean square of the centred source prototypes, so that the ridge needs no unit.

    Args:
      old: prototypes of the source classes `[K_old, F]`.
      new: prototypes of the target classes `[K_new, F]`.
      ridge: how much the combinations are drawn to the mean of all classes; 0 = not.

    Returns:
      coefficients `[K_new, K_old]`.
    """
    old, new = _prototypes(old, new)
    count, centre = len(old), old.mean(axis=0)
    spread = old - centre[None]  # rows that sum to one see prototypes only relative to their mean
    gram = spread @ spread.T
    scale = ridge * np.trace(gram) / count
    # The mean itself is the offset; what is added to it sums to zero by the projection.
    solved = np.linalg.pinv(gram + scale * np.eye(count), hermitian=True) @ spread @ (new - centre[None]).T
    solved = solved - solved.mean(axis=0, keepdims=True)
    return (solved.T + 1 / count).tolist()


def _prototypes(old: Any, new: Any) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(old, np.float64), np.asarray(new, np.float64)
    shapes: tuple[Shape, Shape] = (a.shape, b.shape)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or not len(a):
        raise OpError(f"prototypes are [classes, features] of the same features, not {shapes[0]} and {shapes[1]}")
    return a, b
