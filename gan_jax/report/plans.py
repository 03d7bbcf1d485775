"""A transplant's plan as a table for the page: the source of every leaf of the target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gan_jax.report.table import Column, Table

if TYPE_CHECKING:
    from gan_jax.surgery.plan import Plan, PlanEntry

COLUMNS = (
    Column("target", "target leaf", code=True),
    Column("op", "operation"),
    Column("sources", "source leaf", code=True),
    Column("was", "source shape", code=True),
    Column("shape", "target shape", code=True),
    Column("values"),
    Column("frozen"),
)


def plan_to_table(plan: Plan) -> Table:
    """One row for each leaf of the target, in the order of the plan; empty columns are left out."""
    rows = [_row(entry) for entry in plan.entries]
    used = tuple(column for column in COLUMNS if any(row[column.key] not in ("", None) for row in rows))
    caption = " ".join(plan.notes)
    if plan.unused:
        caption = f"{caption} Not used of the source: {', '.join(plan.unused)}.".strip()
    return Table(used, rows, caption)


def _row(entry: PlanEntry) -> dict[str, object]:
    same = entry.sources == (entry.target,)
    return {
        "target": entry.target,
        "op": entry.op.replace("+", ", then "),
        "sources": "same path" if same else " + ".join(entry.sources) or None,
        "was": " + ".join(map(_shape, entry.source_shapes)) or None,
        "shape": _shape(entry.target_shape),
        "values": entry.size,
        "frozen": "frozen" if entry.frozen else "",
    }


def _shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "scalar"
