"""Curves of a run: metrics rows of its dispatches, and its evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gan_jax.metrics.protocol import TITLES
from gan_jax.report.curves import Chart, Curve
from gan_jax.report.run.reading import Row, is_number

POINTS = 300  # of a curve: rows of longer runs are averaged
LOGGED = {
    "Losses": (("loss_d", "D"), ("loss_g", "G")),
    "What D thinks": (("logits_real", "logits of real images"), ("logits_fake", "logits of generated images")),
}
MEASURED: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("Frechet distance", ("fd",), "Lower is better."),
    ("KID", ("kid",), "Lower is better."),
    (
        "Precision and recall",
        ("precision", "recall"),
        "Higher is better: how real images are, and how much is covered.",
    ),
    ("Density and coverage", ("density", "coverage"), "Higher is better."),
)
APART = {"images", "seconds", "images_per_s", "not_finite"}  # no curves of their own


def training_charts(rows: Sequence[Row]) -> list[Chart]:
    """Losses and logits over images; a single row gives no curve."""
    return [chart for title, keys in LOGGED.items() if (chart := _logged(rows, title, keys)) is not None]


def other_charts(rows: Sequence[Row]) -> list[Chart]:
    """A chart for every other number that rows hold and that changes."""
    charted = APART | {key for keys in LOGGED.values() for key, _ in keys}
    names = dict.fromkeys(key for row in rows for key, value in row.items() if is_number(value) and key not in charted)
    charts = [_logged(rows, name, ((name, name),)) for name in names]

    def varies(chart: Chart) -> bool:
        return len({value for curve in chart.curves for value in curve.values}) > 1

    return [chart for chart in charts if chart is not None and varies(chart)]


def evaluation_charts(rows: Sequence[Row]) -> list[Chart]:
    """Metrics over images and seconds, from rows of one protocol; none where there is only one evaluation."""
    out = []
    for title, keys, note in MEASURED:
        curves = [curve for key in keys if (curve := measured(rows, key, TITLES.get(key, key))) is not None]
        if curves:
            out.append(Chart(title, title if len(keys) > 1 else curves[0].label, tuple(curves), note=note))
    return out


def latest_protocol(rows: Sequence[Row]) -> tuple[str, list[Row], int]:
    """The last row's protocol, the rows measured under it, and the number of other rows."""
    name = rows[-1]["protocol"]
    same = [row for row in rows if row["protocol"] == name]
    return name, same, len(rows) - len(same)


def averaged(points: Sequence[tuple[float, float]], most: int = POINTS) -> tuple[list[float], list[float]]:
    """At most `most` means over neighbouring points (x, y); the x of a mean is that of its last point."""
    size = -(-len(points) // most)
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [group[-1][0] for group in groups], [float(np.mean([y for _, y in group])) for group in groups]


def _logged(rows: Sequence[Row], title: str, keys: Sequence[tuple[str, str]]) -> Chart | None:
    curves, size = [], -(-len(rows) // POINTS)
    for key, label in keys:
        points = [(row["images"], float(row[key])) for row in rows if is_number(row.get(key))]
        if len(points) > 1:
            curves.append(Curve(label, *averaged(points)))
    if not curves:
        return None
    note = f"Each point is the mean of {size} logged dispatches." if size > 1 else ""
    return Chart(title, title, tuple(curves), note=note)


def measured(rows: Sequence[Mapping[str, Any]], key: str, label: str, least: int = 2) -> Curve | None:
    """A metric over images, and over seconds where all rows have them; None for fewer than `least` points."""
    points = [row for row in rows if is_number(row.get(key))]
    if len(points) < least:
        return None
    of = lambda field: [row[field] for row in points]
    timed = all(is_number(row.get("seconds")) for row in points)
    return Curve(label, of("images"), of(key), of("seconds") if timed else None)
