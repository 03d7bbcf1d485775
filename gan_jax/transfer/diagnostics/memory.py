"""Memorisation: the distance of generated images to the training images, compared with that of new real images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gan_jax.config import DiagnoseConfig
from gan_jax.metrics import Memorisation, memorisation
from gan_jax.transfer.diagnostics.check import Check, Row

MOST = 2000  # training images; a run does not memorise a larger set, and the search would take long


def measure(fake: Any, train: Any, held_out: Any) -> dict[str, float]:
    """`memory`, `memory_closer`, and `occupied`: the share of training images that are nearest to a generated image.

    Args:
      fake: features [N, D] of generated images.
      train: of the training images, [M, D].
      held_out: of real images that were not trained on, [K, D]; None = the training images' distances among
        themselves.

    Returns:
      An empty dict where there are too few images, or most of them are equal.
    """
    if len(train) < 2:
        return {}
    result = memorisation_of(fake, train, held_out)
    if result is None:
        return {}
    occupied = len(np.unique(result.indices)) / min(len(train), len(fake))
    return {"memory": result.ratio, "memory_closer": result.closer, "occupied": occupied}


def memorisation_of(fake: Any, train: Any, held_out: Any) -> Memorisation | None:
    """The memorisation metric; None where most distances to compare with are 0."""
    from gan_jax.metrics import MetricError

    try:
        return memorisation(fake, train, held_out)
    except MetricError:
        return None


def checks(rows: Sequence[Row], limits: DiagnoseConfig) -> Iterator[Check]:
    """The checks of the last row."""
    row: Any = rows[-1]
    if "memory" in row:
        yield Check(
            "memorisation",
            "distance to the nearest training image over that of new real images",
            row["memory"],
            limits.memory,
            True,
            f"generated images lie {row['memory']:.2f} times as far from the nearest training image as new real images do: "
            "G copies its training images; use more of them (data.shots), data.mirror, an earlier checkpoint, or a method "
            "that trains less (freeze_g, scale_shift, fsgan, lora)",
        )
