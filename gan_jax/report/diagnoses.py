"""The checks of a run's last evaluation, as sentences and a table for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gan_jax.config import DiagnoseConfig
from gan_jax.report.table import Column, Table
from gan_jax.transfer.diagnostics import checks

COLUMNS = (
    Column("run"),
    Column("name", "failure"),
    Column("what", "number"),
    Column("value", "value"),
    Column("limit", "warns"),
    Column("verdict"),
)


def diagnoses(
    curves: Mapping[str, Sequence[Mapping[str, Any]]], limits: DiagnoseConfig
) -> tuple[Table, tuple[str, ...]]:
    """The table of all checks of each run's last evaluation, and a sentence for each check that warns.

    Args:
      curves: evaluations by run name.
      limits: beyond which a check warns.
    """
    outcomes = [(run, check) for run, rows in curves.items() if rows for check in checks(rows, limits)]
    table = Table(
        COLUMNS,
        [
            {
                "run": run,
                "name": check.name,
                "what": check.what,
                "value": check.value,
                "limit": f"{'below' if check.below else 'above'} {check.limit:g}",
                "verdict": "warns" if check.warns else "passes",
            }
            for run, check in outcomes
        ],
        "Of the last evaluation of each run.",
    )
    return table, tuple(f"{run}: {check.note}" for run, check in outcomes if check.warns)
