"""What a run was looked at for, as sentences and a table for the page."""

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
    """The table of all numbers, and the sentences of those that warn, of the last evaluation of each run.

    Args:
      curves: evaluations by the name of a run.
      limits: of the runs.
    """
    found = [(run, one) for run, rows in curves.items() if rows for one in checks(rows, limits)]
    table = Table(
        COLUMNS,
        [
            {
                "run": run,
                "name": one.name,
                "what": one.what,
                "value": one.value,
                "limit": f"{'below' if one.below else 'above'} {one.limit:g}",
                "verdict": "warns" if one.warns else "passes",
            }
            for run, one in found
        ],
        "Of the last evaluation of each run.",
    )
    return table, tuple(f"{run}: {one.note}" for run, one in found if one.warns)
