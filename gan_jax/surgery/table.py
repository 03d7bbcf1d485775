"""A plan as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gan_jax.surgery.plan import Plan, PlanEntry

HEAD = ("target", "source (= same path)", "op", "shape", "dtype", "values", "share", "frozen")


def plan_table(plan: Plan) -> str:
    """One line for each target leaf, then totals, what is left over, and the notes."""
    total = max(1, sum(entry.size for entry in plan.entries))
    rows = [_row(entry, total) for entry in plan.entries]
    lines = [*align([HEAD, *rows], right=(5, 6)), totals_line(plan)]
    if plan.unused:
        shown = ", ".join(plan.unused[:6]) + (f" and {len(plan.unused) - 6} more" if len(plan.unused) > 6 else "")
        lines.append(f"not used of the source: {shown}")
    return "\n".join([*lines, *(f"note: {note}" for note in plan.notes)])


def plan_summary(plan: Plan) -> str:
    """A plan in ten lines at most: totals, each network's share, which operations, what is left over, the notes."""
    lines = [totals_line(plan)]
    networks: dict[str, list[PlanEntry]] = {}
    for entry in plan.entries:
        networks.setdefault(entry.target.partition("/")[0], []).append(entry)
    for name, entries in networks.items():
        ops = Counter(entry.op for entry in entries)
        shown = ", ".join(f"{op} {n}" for op, n in ops.most_common(4)) + (", .." if len(ops) > 4 else "")
        size, fresh = sum(entry.size for entry in entries), sum(entry.values["fresh"] for entry in entries)
        frozen = sum(entry.size for entry in entries if entry.frozen)
        facts = [f"{len(entries)} leaves", f"{size:,} values", f"{100 * fresh / max(1, size):.1f} % fresh"]
        facts += [f"{frozen:,} frozen"] if frozen else []
        lines.append(f"{name}: {', '.join(facts)} ({shown})")
    reshaped = [entry for entry in plan.entries if entry.source_shapes and entry.source_shapes[0] != entry.target_shape]
    if reshaped:
        first = reshaped[0]
        more = f", and {len(reshaped) - 1} more" if len(reshaped) > 1 else ""
        lines.append(
            f"of another shape: {first.target} {_shape(first.source_shapes[0])} -> {_shape(first.target_shape)}{more}"
        )
    if plan.unused:
        lines.append(f"not used of the source: {_few(plan.unused, 2)}")
    room = SUMMARY - len(lines) - 1
    notes = [f"note: {note}" for note in plan.notes]
    lines += notes if len(notes) <= room else [*notes[: room - 1], f"and {len(notes) - room + 1} more notes"]
    return "\n".join(lines)


SUMMARY = 10  # lines of a summary, the one that says where the whole table is among them


def totals_line(plan: Plan) -> str:
    """`12,345 values: 80.0 % copied, 15.0 % adapted, 5.0 % fresh`."""
    totals, frozen = plan.totals, sum(entry.size for entry in plan.entries if entry.frozen)
    count = sum(totals.values())
    shares = ", ".join(f"{100 * n / max(1, count):.1f} % {kind} ({n:,})" for kind, n in totals.items())
    return f"{len(plan.entries)} leaves, {count:,} values: {shares}" + (f"; {frozen:,} frozen" if frozen else "")


def align(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Rows as lines with aligned columns, a rule below the first; columns in `right` are flush right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    pad = lambda i, cell: cell.rjust(widths[i]) if i in right else cell.ljust(widths[i])
    lines = ["  ".join(pad(i, cell) for i, cell in enumerate(row)).rstrip() for row in rows]
    return [lines[0], "  ".join("-" * w for w in widths), *lines[1:]]


def _row(entry: PlanEntry, total: int) -> tuple[str, ...]:
    sources = "-" if not entry.sources else "=" if entry.sources == (entry.target,) else _few(entry.sources)
    old = _few([_shape(shape) for shape in entry.source_shapes])
    new = _shape(entry.target_shape)
    shape = new if not old or old == new else f"{old} -> {new}"
    share = f"{100 * entry.size / total:.1f} %"
    return (
        entry.target,
        sources,
        entry.op,
        shape,
        entry.target_dtype,
        f"{entry.size:,}",
        share,
        "yes" if entry.frozen else "",
    )


def _few(names: Sequence[str], most: int = 4) -> str:
    """All of a few; of many, which only score channels, the first."""
    return " + ".join(names) if len(names) <= most else f"{names[0]} + {len(names) - 1} more"


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"
