"""Tables of results for a terminal, Markdown, HTML, CSV and LaTeX, from the same rows."""

from __future__ import annotations

import csv
import dataclasses
import html
import io
import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from gan_jax.files import printable

# ----------------------------------------------------------------------------------------------------------------------
# Tables for a terminal, for Markdown and for HTML.
#
# A row is a dict. A value that is a sequence of numbers is one number per seed and is shown as its mean with the
# half-width of the 95 % Student t interval; of one seed there is no interval, and the note under the table says so.

Rows = Sequence[Mapping[str, Any]]
ARROWS = {"lower": "↓", "higher": "↑", None: ""}


@dataclasses.dataclass(frozen=True)
class Column:
    """One column: the key of its values and how they are shown."""

    key: str  # of the row dicts
    title: str = ""  # "" = the key
    unit: str = ""  # shown in the heading
    better: Literal["lower", "higher"] | None = None  # which way is better; None = not a measurement
    decimals: int = 3  # of numbers that are not whole
    code: bool = False  # a name or a path, shown in a fixed-width font

    @property
    def heading(self) -> str:
        unit = f", {self.unit}" if self.unit else ""
        return printable(f"{self.title or self.key}{unit} {ARROWS[self.better]}".strip())


@dataclasses.dataclass(frozen=True)
class Table:
    """A table: columns, rows, a caption."""

    columns: tuple[Column, ...]
    rows: Rows
    caption: str = ""  # text under the table; a sentence about the intervals follows it
    over_seeds: bool = True  # whether rows are results of seeds; the note then says how many

    def cells(self) -> list[list[str]]:
        """Every value as text, row by row."""
        return [[show(row.get(column.key), column) for column in self.columns] for row in self.rows]

    def best(self, column: Column) -> set[int]:
        """The rows with the best mean of a measurement; none where there is nothing to compare."""
        if column.better is None:
            return set()
        means = {i: m for i, row in enumerate(self.rows) if (m := _mean(row.get(column.key))) is not None}
        if len(means) < 2:
            return set()
        top = min(means.values()) if column.better == "lower" else max(means.values())
        return {i for i, mean in means.items() if mean == top}

    def note(self) -> str:
        """The caption, and the number of seeds."""
        values: list[Any] = [row.get(c.key) for row in self.rows for c in self.columns]
        measured = [row.get(c.key) for row in self.rows for c in self.columns if c.better is not None]
        seeds = {len(v) for v in values if _is_sequence(v)} | {1 for v in measured if _is_number(v)}
        parts = [self.caption] if self.caption else []
        if not self.over_seeds:
            return " ".join(parts)
        if many := sorted(n for n in seeds if n > 1):
            over = f"{many[0]}" if len(many) == 1 else f"{many[0]} to {many[-1]}"
            parts.append(f"Mean ± half-width of the 95 % interval (Student t) over {over} seeds.")
            if 1 in seeds:
                parts.append("Values without ± are of one seed.")
        elif seeds:
            parts.append("One seed: no interval.")
        return " ".join(parts)


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float | None]:
    """Mean of one number per seed and the half-width of its Student t interval, None for one seed.

    half = t_{(1 + level)/2, n-1} * s / sqrt(n), with s the standard deviation over n - 1.

    Raises:
      ValueError: no values, or one that is not finite.
    """
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"an interval needs at least one finite number per seed, not {np.asarray(values).tolist()}")
    mean = float(array.mean())
    if array.size == 1:
        return mean, None
    from scipy.special import stdtrit

    quantile = float(stdtrit(array.size - 1, (1 + level) / 2))
    return mean, quantile * float(array.std(ddof=1)) / math.sqrt(array.size)


def show(value: Any, column: Column) -> str:
    """One value as text: `–` for absent, `0.031 ± 0.004` for one number per seed."""
    if value is None or (_is_sequence(value) and len(value) == 0):
        return "–"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if _is_sequence(value):
        if not np.isfinite(np.asarray(value, np.float64)).all():
            return "not finite"
        mean, half = interval(value)
        return f"{mean:,.{column.decimals}f}" + ("" if half is None else f" ± {half:,.{column.decimals}f}")
    if isinstance(value, numbers.Integral):
        return f"{int(value):,}"
    if _is_number(value):
        return f"{float(value):,.{column.decimals}f}" if math.isfinite(value) else "not finite"
    return printable(value)


def terminal_table(table: Table, title: str = "", *, width: int | None = None, colour: bool = False) -> str:
    """The table for a terminal, as text of at most `width` columns (None = this terminal's)."""
    from rich.console import Console

    buffer = io.StringIO()
    console = Console(file=buffer, width=width, force_terminal=colour, color_system="standard" if colour else None)
    console.print(_rich_table(table, title))
    return buffer.getvalue()


def print_table(table: Table, title: str = "") -> None:
    """Prints the table to this terminal, in colour where it has any."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:  # rich takes 80 columns for a file, where paths of leaves would be folded
        console = Console(width=140)
    console.print(_rich_table(table, title))


def markdown_table(table: Table) -> str:
    """The table in Markdown, its note as the last line."""
    escape = lambda text: text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")  # noqa: E731

    def cell(text: str, column: Column, best: bool) -> str:
        text = escape(text)
        return f"`{text}`" if column.code and text not in ("–", "") else f"**{text}**" if best else text

    bests = [table.best(column) for column in table.columns]
    lines = [
        "| " + " | ".join(escape(column.heading) for column in table.columns) + " |",
        "|" + "|".join(" ---: " if _is_numeric(table, column) else " --- " for column in table.columns) + "|",
    ]
    for i, cells in enumerate(table.cells()):
        texts = [cell(text, c, i in best) for text, c, best in zip(cells, table.columns, bests, strict=True)]
        lines.append("| " + " | ".join(texts) + " |")
    if note := table.note():
        lines += ["", printable(note)]
    return "\n".join(lines) + "\n"


def html_table(table: Table) -> str:
    """The table in HTML: headings with scope, numbers right, the best mean of each measurement strong."""
    escape = lambda text: html.escape(printable(text))  # noqa: E731
    sides = ["number" if _is_numeric(table, c) else "code" if c.code else "text" for c in table.columns]
    named = zip(table.columns, sides, strict=True)
    head = "".join(f'<th scope="col" class="{side}">{escape(column.heading)}</th>' for column, side in named)
    bests = [table.best(column) for column in table.columns]
    body = []
    for i, cells in enumerate(table.cells()):
        elements = []
        for j, (text, side) in enumerate(zip(cells, sides, strict=True)):
            tag = 'th scope="row"' if j == 0 else "td"
            inner = f"<strong>{escape(text)}</strong>" if i in bests[j] else escape(text)
            elements.append(f'<{tag} class="{side}">{inner}</{tag.split()[0]}>')
        body.append(f"<tr>{''.join(elements)}</tr>")
    note = f'<p class="note">{escape(table.note())}</p>' if table.note() else ""
    rows = "\n".join(body)
    # tabindex lets a keyboard scroll a table that is wider than a phone
    return (
        f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>\n{note}"
    )


def _rich_table(table: Table, title: str) -> Any:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    # Text objects, not strings: rich would read shapes such as [3,3,1,24] as its markup
    note = printable(table.note())
    out = RichTable(
        title=Text(printable(title)) if title else None,
        caption=Text(note) if note else None,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
    )
    for column in table.columns:
        side = "right" if _is_numeric(table, column) else "left"
        out.add_column(Text(column.heading), justify=side, overflow="fold")
    bests = [table.best(column) for column in table.columns]
    for i, cells in enumerate(table.cells()):
        out.add_row(*(Text(text, style="bold" if i in best else "") for text, best in zip(cells, bests, strict=True)))
    return out


def _is_sequence(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim == 1)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))


def _is_numeric(table: Table, column: Column) -> bool:
    values = [row.get(column.key) for row in table.rows if row.get(column.key) is not None]
    return bool(values) and all(_is_number(value) or _is_sequence(value) for value in values)


def _mean(value: Any) -> float | None:
    if _is_number(value):
        value = [value]
    if not _is_sequence(value) or len(value) == 0 or not np.isfinite(np.asarray(value, np.float64)).all():
        return None
    return float(np.mean(np.asarray(value, np.float64)))


# ----------------------------------------------------------------------------------------------------------------------
# Tables for other programs: CSV with a column for each number, LaTeX with mean and half-width.

SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
           **{c: f"\\{c}" for c in "&%$#_{}"}}  # fmt: skip
SIGNS = {"±": r"$\pm$", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "–": "--", "×": r"$\times$"}


def csv_table(table: Table) -> str:
    """One line for each row; a measurement over seeds becomes its mean, its half-width of 95 %, and how many seeds."""
    spread = [any(_is_array(row.get(c.key)) for row in table.rows) for c in table.columns]
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
    if not _is_array(value) or len(value) == 0:
        return ["" if value is None or _is_array(value) else value, "", ""]
    mean, half = interval(value)
    return [mean, "" if half is None else half, len(value)]


def _is_array(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
