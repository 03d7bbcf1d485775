"""Mode collapse: generated images become similar to each other, measured by their features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gan_jax.config import DiagnoseConfig
from gan_jax.transfer.diagnostics.check import Check, Row

LITTLE = 0.02  # the least coverage of the best evaluation from which a fall is checked


def measure(fake: Any, real: Any) -> dict[str, float]:
    """The `spread`: the distance between generated images over the distance between images of the reference.

    The distance is the root of the mean squared distance of pairs. It equals the root of twice the trace of the
    covariance, so that no pair is computed.

    Args:
      fake: features [N, D] of generated images.
      real: features [M, D] of the reference.
    """
    real_variance = _total_variance(real)
    return {"spread": float(np.sqrt(_total_variance(fake) / real_variance))} if real_variance > 0 else {}


def _total_variance(features: Any) -> float:
    """The trace of the covariance of features [N, D]."""
    return float(np.asarray(features, np.float64).var(0, ddof=1).sum())


def checks(rows: Sequence[Row], limits: DiagnoseConfig) -> Iterator[Check]:
    """The checks of the last row, compared with the rows before it."""
    first: Any = rows[0]
    now: Any = rows[-1]
    todo = "use an earlier checkpoint, a smaller optim.lr, or a method that keeps the source (l2_sp, ewc, cdc)"
    before = rows[:-1]
    if "spread" in now:
        yield Check(
            "mode collapse",
            "distance between generated images over that of the reference's",
            now["spread"],
            limits.least_spread,
            True,
            f"generated images lie {now['spread']:.2f} times as far apart as real ones: G makes few kinds of images; {todo}; "
            "at the beginning of a run from fresh weights wait for the next evaluation",
        )
    if before and first.get("spread", 0) > 0 and "spread" in now:
        share = now["spread"] / first["spread"]
        yield Check(
            "falling diversity",
            "distance between generated images over that at the first evaluation",
            share,
            limits.spread,
            True,
            f"generated images lie {share:.2f} times as far apart as at the first evaluation ({first['images']:,} images): "
            f"G forgets kinds of images; {todo}",
        )
    best = max((row["coverage"] for row in before if "coverage" in row), default=0.0)
    if best > LITTLE and "coverage" in now:
        share = now["coverage"] / best
        yield Check(
            "falling coverage",
            "coverage over the best one before",
            share,
            limits.coverage,
            True,
            f"coverage fell from {best:.2f} to {now['coverage']:.2f}: G leaves out kinds of images that it made before; {todo}",
        )
