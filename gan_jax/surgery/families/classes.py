"""Classes and colours: the sources of each target class, and kernels whose image channels change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from gan_jax.surgery.ops.basic import OpError, Shape

# ----------------------------------------------------------------------------------------------------------------------
# Which source classes each target class starts from: by hand, by prototypes, or as fitted combinations.

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


# ----------------------------------------------------------------------------------------------------------------------
# Image channels: how a kernel that reads (`in`) or writes (`out`) images changes with their number.
#
# One channel is grey, three are RGB, four are RGBA; any other number are bands without a known meaning.
#
# | change | in the writer | in the reader | exact |
# |---|---|---|---|
# | 1 -> k | the grey value k times | 1/k each | writer: grey repeated; reader: on such images |
# | 1 -> RGBA | RGB so, alpha by an offset | 1/3 for RGB, alpha unread | the same, whatever alpha is |
# | k -> 1 | the mean (of RGB) | the sum (of RGB) | writer: before the tanh; reader: on grey images |
# | k -> m > k | kept, new ones zero | kept, new ones unread | writer: old channels; reader: whatever the new ones hold |
# | k -> m < k | kept, others dropped | kept, others dropped | writer: kept channels; reader: where the others are 0 |
#
# With `fill="mean"` (`beside` among the arguments of `fit`) new channels start as the mean of the old ones: a guess at
# what they will look like. The writer's old channels stay exact, the reader's function does not.

GREY, RGB, RGBA = 1, 3, 4
OPAQUE = 4.0  # alpha before the tanh, 0.9993 after: 255 as a byte, and not so flat that it cannot be trained


def colour_matrix(old: int, new: int, side: str, fill: Literal["zero", "mean"] = "zero") -> list[list[float]]:
    """`[new, old]`: image channels `new` from `old`, in the kernel that reads (`in`) or writes (`out`) the image.

    Args:
      old: number of channels before.
      new: number of channels after.
      side: `in` or `out`.
      fill: what new channels start from; alpha is always zero here.

    Raises:
      OpError: a number below 1, or an unknown word.
    """
    if old < 1 or new < 1:
        raise OpError(f"no colour heads for {old} -> {new} image channels; an image has one channel or more")
    if side not in ("in", "out") or fill not in ("zero", "mean"):
        raise OpError(f"side is {side!r} and fill is {fill!r}; use 'in' or 'out', and 'zero' or 'mean'")
    colours = lambda channels: min(channels, RGB) if channels == RGBA else channels  # all but alpha
    old_colours, new_colours = colours(old), colours(new)
    rows = [[0.0] * old for _ in range(new)]
    if old == GREY:
        for i in range(new_colours):
            rows[i][0] = 1.0 if side == "out" else 1 / new_colours
    elif new == GREY:
        rows[0][:old_colours] = [1 / old_colours if side == "out" else 1.0] * old_colours
    else:
        for i in range(new):
            if i < old:
                rows[i][i] = 1.0
            elif fill == "mean" and (old, new) != (RGB, RGBA):
                rows[i][:old_colours] = [1 / old_colours] * old_colours
    return rows
