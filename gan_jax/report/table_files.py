"""Tables for other programs: CSV with a column for each number, LaTeX with mean and half-width."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from gan_jax.report.files import printable
from gan_jax.report.table import ARROWS, Column, Table, interval, show

SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
           **{c: f"\\{c}" for c in "&%$#_{}"}}  # fmt: skip
SIGNS = {"±": r"$\pm$", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "–": "--", "×": r"$\times$"}


def csv_table(table: Table) -> str:
    """One line for each row; a measurement over seeds becomes its mean, its half-width of 95 %, and how many seeds."""
    spread = [any(_is_sequence(row.get(c.key)) for row in table.rows) for c in table.columns]
    head = [part for c, wide in zip(table.columns, spread, strict=True) for part in _headings(c, wide)]
    lines = [
        [part for c, wide in zip(table.columns, spread, strict=True) for part in _values(row.get(c.key), wide)]
        for row in table.rows
    ]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([head, *lines])
    return out.getvalue()


def latex_table(table: Table) -> str:
    """A LaTeX `tabular` with booktabs rules; the best mean of each measurement is bold, the note is a comment."""
    bests = [table.best(column) for column in table.columns]
    sides = "".join("l" if i == 0 else "r" for i in range(len(table.columns)))
    lines = [rf"\begin{{tabular}}{{{sides}}}", r"\toprule"]
    lines += [" & ".join(latex(column.heading) for column in table.columns) + r" \\", r"\midrule"]
    for i, row in enumerate(table.rows):
        texts = [latex(show(row.get(column.key), column)) for column in table.columns]
        bold = [rf"\textbf{{{text}}}" if i in best else text for text, best in zip(texts, bests, strict=True)]
        lines.append(" & ".join(bold) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    note = [f"% {line}" for line in printable(table.note()).splitlines()]
    return "\n".join([*note, *lines]) + "\n"


def latex(text: str) -> str:
    """Text escaped for LaTeX."""
    return "".join(SPECIAL.get(c, SIGNS.get(c, c)) for c in printable(text).replace("\n", " "))


def _headings(column: Column, wide: bool) -> list[str]:
    name = column.heading.rstrip("".join(ARROWS.values())).strip()
    return [name, f"{name}, half-width of 95 %", f"{name}, seeds"] if wide else [name]


def _values(value: Any, wide: bool) -> list[Any]:
    if not wide:
        return ["" if value is None else value]
    if not _is_sequence(value) or len(value) == 0:
        return ["" if value is None or _is_sequence(value) else value, "", ""]
    mean, half = interval(value)
    return [mean, "" if half is None else half, len(value)]


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
