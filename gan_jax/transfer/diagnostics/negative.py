"""Negative transfer: a run is worse than another run, usually from scratch, after the same number of images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gan_jax.config import ConfigError, DiagnoseConfig
from gan_jax.documents import escaped, field_of
from gan_jax.train.checkpoint_rows import read_rows
from gan_jax.transfer.diagnostics.check import Check, Row

METRIC = "kid"  # unbiased at any number of images
AGAINST = "kid_against"


def read_against(folder: str | Path, protocol: str, name: str = "evaluations.jsonl") -> list[dict[str, Any]]:
    """Reads the evaluations of another run to compare with.

    Raises:
      ConfigError: there are none, or they were measured under another protocol.
    """
    rows = read_rows(Path(folder) / name)
    if not rows:
        raise ConfigError(f"--against {folder}: there is no evaluation ({name}) of a run; train it first")
    for number, row in enumerate(rows, 1):
        for field, kind in {"protocol": str, "images": int}.items():
            field_of(row, field, kind, f"{Path(folder) / name}, row {number},", ConfigError)
        if type(row.get(METRIC, 0.0)) not in (int, float):  # null where it was not finite
            del row[METRIC]
    if protocols := sorted({row["protocol"] for row in rows} - {protocol}):
        raise ConfigError(
            f"--against {folder} was measured under {escaped(protocols[0], 200)}, and this run under {protocol}: give both "
            "the same data.source, data.classes, data.shots, data.subset_seed and evaluate"
        )
    return rows


def value_at(rows: Sequence[Row], images: int, metric: str = METRIC) -> float | None:
    """A metric after `images` images, linearly interpolated between evaluations; None outside of their range."""
    points = sorted((row["images"], row[metric]) for row in rows if metric in row)
    for (a, at_a), (b, at_b) in zip(points, points[1:] or points, strict=False):
        if a <= images <= b:
            return at_a if a == b else at_a + (at_b - at_a) * (images - a) / (b - a)
    return None


def measure(images: int, numbers: Row, against: Sequence[Row]) -> dict[str, float]:
    """`kid_against`: KID over that of another run after as many images; empty where either is not above 0."""
    other = value_at(against, images)
    if other is None or other <= 0 or numbers.get(METRIC, 0) <= 0:
        return {}
    return {AGAINST: numbers[METRIC] / other}


def checks(rows: Sequence[Row], limits: DiagnoseConfig) -> Iterator[Check]:
    """The checks of the last row, where there is a run to compare with."""
    row: Any = rows[-1]
    if AGAINST in row:
        yield Check(
            "negative transfer",
            "KID over that of the other run after as many images",
            row[AGAINST],
            limits.worse,
            False,
            f"KID is {row[AGAINST]:.2f} times that of the other run after as many images: this source does not help; choose one "
            "of higher recall (gan-jax rank-sources), train more of the networks (finetune), or train from scratch",
        )
