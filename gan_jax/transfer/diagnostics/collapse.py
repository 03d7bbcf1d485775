"""Mode collapse: generated images become similar to each other, measured by their features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gan_jax.config import DiagnoseConfig
from gan_jax.transfer.diagnostics.check import Check, Row

LITTLE = 0.02  # coverage of the best evaluation below which its fall says nothing


def measure(fake: Any, real: Any) -> dict[str, float]:
    """The `spread`: the distance between generated images over the distance between images of the reference.

    The distance is the root of the mean squared distance of pairs. It equals the root of twice the trace of the
    covariance, so that no pair is computed.

    Args:
      fake: features [N, D] of generated images.
      real: features [M, D] of the reference.
    """
    total = lambda x: float(np.asarray(x, np.float64).var(0, ddof=1).sum())
    of_real = total(real)
    return {"spread": float(np.sqrt(total(fake) / of_real))} if of_real > 0 else {}


def checks(rows: Sequence[Row], limits: DiagnoseConfig) -> Iterator[Check]:
    """The checks of the last row, compared with the rows before it."""
    first: Any = rows[0]
    now: Any = rows[-1]
    todo = "use an earlier checkpoint, a smaller optim.lr, or a method that keeps the source (l2_sp, ewc, cdc)"
    before = rows[:-1]
    if "spread" in now:
        yield Check(
            "mode collapse", "distance between generated images over that of the reference's",
            now["spread"], limits.least_spread, True,
            f"generated images lie {now['spread']:.2f} times as far apart as real ones: G makes few kinds of images; {todo}; "
            "at the beginning of a run from fresh weights wait for the next evaluation",
        )  # fmt: skip
    if before and first.get("spread", 0) > 0 and "spread" in now:
        share = now["spread"] / first["spread"]
        yield Check(
            "falling diversity", "distance between generated images over that at the first evaluation",
            share, limits.spread, True,
            f"generated images lie {share:.2f} times as far apart as at the first evaluation ({first['images']:,} images): "
            f"G forgets kinds of images; {todo}",
        )  # fmt: skip
    best = max((row["coverage"] for row in before if "coverage" in row), default=0.0)
    if best > LITTLE and "coverage" in now:
        share = now["coverage"] / best
        yield Check(
            "falling coverage", "coverage over the best one before", share, limits.coverage, True,
            f"coverage fell from {best:.2f} to {now['coverage']:.2f}: G leaves out kinds of images that it made before; {todo}",
        )  # fmt: skip
