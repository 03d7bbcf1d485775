"""Sections of a run's page: curves, diagnoses, origins of leaves, mixing weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gan_jax.config import DiagnoseConfig
from gan_jax.metrics.protocol import TITLES
from gan_jax.report.comparison import CHECK_COLUMNS, diagnoses, plan_to_table
from gan_jax.report.curves import Chart, Curve
from gan_jax.report.fusion import alignment_lines, fused_generators, mixing_chart, mixing_table
from gan_jax.report.html import bullets, chart_figure, escape, folded, gallery_figure, image_element, paragraphs
from gan_jax.report.run.facts import guarded, note
from gan_jax.report.run.folder import Row, RunFolder
from gan_jax.report.run.pictures import GRID_PX, Drawn, Neighbours, smaller
from gan_jax.report.table import Column, Table, html_table
from gan_jax.surgery import Plan
from gan_jax.surgery.provenance import origin_lines, origin_of, step_lines
from gan_jax.train.rows import is_number

# ----------------------------------------------------------------------------------------------------------------------
# Curves of a run: metrics rows of its dispatches, and its evaluations.

POINTS = 300  # of a curve: rows of longer runs are averaged
LOGGED = {
    "Losses": (("loss_d", "D"), ("loss_g", "G")),
    "Logits of D": (("logits_real", "logits of real images"), ("logits_fake", "logits of generated images")),
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
    for title, keys, remark in MEASURED:
        curves = [curve for key in keys if (curve := measured(rows, key, TITLES.get(key, key))) is not None]
        if curves:
            out.append(Chart(title, title if len(keys) > 1 else curves[0].label, tuple(curves), note=remark))
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


# ----------------------------------------------------------------------------------------------------------------------
# Sections: diagnoses, nearest training images, origins of leaves, mixing weights.

ATTENTION = "attention.png"  # where in the image donors are attended to, as `gan-jax fuse` draws it
LONGEST = 200_000  # characters of prepared.json that are shown
LEAVES = 300  # leaves whose origins are listed
LOOKED_FOR = {
    "d_held_out": "overfitting of D (it needs real images outside the training set, from data.shots or data.reference)",
    "spread": "mode collapse",
    "memory": "memorisation (it needs at most 2,000 training images, in memory)",
    "kid_against": "negative transfer (it needs a run from scratch to compare with: --against FOLDER)",
}  # what was not checked where the number is absent from the last evaluation


def diagnoses_section(run: RunFolder) -> str:
    """The checks of the last evaluation, and those that could not be made."""
    if not run.evaluations:
        return paragraphs("Diagnoses are made of evaluations, and there are none.")
    limits = run.config.diagnose if run.config is not None else DiagnoseConfig()
    _, same, _ = latest_protocol(run.evaluations)
    rows = [{key: value for key, value in row.items() if value is not None} for row in same]
    table, warnings = diagnoses({"": rows}, limits)
    missing = [what for key, what in LOOKED_FOR.items() if not is_number(rows[-1].get(key))]
    out = bullets([warning.removeprefix(": ") for warning in warnings])
    if table.rows:
        columns = tuple(column for column in CHECK_COLUMNS if column.key != "run")
        checked = html_table(Table(columns, table.rows, "Of the last evaluation."))
        out = (out or paragraphs("Nothing that was looked at is beyond its limit.")) + checked
    return out + (paragraphs(f"Not looked at: {'; '.join(missing)}.") if missing else "")


def memory_section(neighbours: Neighbours | None, drawn: Drawn | None) -> str:
    """The gallery of neighbours."""
    if neighbours is None:
        return paragraphs("The training images were not read, as asked (--quick).")
    out = paragraphs("\n\n".join(neighbours.sentences))
    if neighbours.gallery is None:
        return out
    origin = f"Generated after {drawn.at:,} images ({drawn.origin})." if drawn is not None else ""
    return out + gallery_figure(neighbours.gallery) + note(origin)


def start_section(run: RunFolder) -> str:
    """The plan's summary; the history and the origin of every leaf, folded."""
    if run.plan is not None:
        out = _plan(run.plan, run.sources)
    elif run.sources:
        out = paragraphs("The run has no plan that could be read (plan.json): it has not begun, or the file is gone.")
    else:
        out = paragraphs("Nothing was transplanted: the networks began from fresh weights.")
    history, leaves = run.manifest.get("history") or run.history, run.manifest.get("leaves")
    if isinstance(leaves, Mapping):  # of a checkpoint without what only training needs
        leaves = {path: leaf for path, leaf in leaves.items() if path.startswith(("g_ema/", "d/"))}
    if history and isinstance(history, list):
        out += guarded(lambda: folded("History, oldest first", "\n".join(_history(history))), "The history")
    if history and leaves and isinstance(history, list) and isinstance(leaves, Mapping):
        title = f"What became of each leaf ({_counted(list(leaves))})"
        out += guarded(lambda: folded(title, "\n".join(_origins(history, list(leaves)))), "What became of each leaf")
    return out


def _plan(plan: Plan, sources: Sequence[str]) -> str:
    """A row for each network, the unused leaves of the source, and every leaf, folded."""
    rows = []
    for root in dict.fromkeys(entry.target.partition("/")[0] for entry in plan.entries):
        entries = [entry for entry in plan.entries if entry.target.startswith(f"{root}/")]
        sums = {kind: sum(entry.values[kind] for entry in entries) for kind in ("copied", "adapted", "fresh")}
        frozen = sum(entry.size for entry in entries if entry.frozen)
        size = sum(entry.size for entry in entries)
        rows.append({"network": root.upper(), "leaves": len(entries), "values": size, **sums, "frozen": frozen})
    columns = tuple(Column(key) for key in ("network", "leaves", "values", "copied", "adapted", "fresh", "frozen"))
    begun = sources[0] if sources else "the source"  # donors come later, in the preparation
    caption = f"Values copied from {begun}, adapted to another shape, or fresh; frozen ones are not trained."
    out = html_table(Table(columns, rows, caption)) + bullets(plan.notes)
    if plan.unused:
        more = f" and {len(plan.unused) - 8} more" if len(plan.unused) > 8 else ""
        out += note(f"Not used of the source: {', '.join(plan.unused[:8])}{more}.")
    title = f"Where each of {len(plan.entries)} leaves comes from"
    table = f'<div class="plan" tabindex="0">{html_table(plan_to_table(plan))}</div>'
    return f"{out}<details><summary>{title}</summary>{table}</details>"


def _history(history: list[Row]) -> list[str]:
    return [line for i, step in enumerate(history, 1) for line in step_lines(i, step)]


def _origins(history: list[Row], leaves: list[str]) -> list[str]:
    return [line for leaf in leaves[:LEAVES] for line in (leaf, *origin_lines(origin_of(history, leaf)), "")]


def _counted(leaves: list[str]) -> str:
    return f"{len(leaves)}" if len(leaves) <= LEAVES else f"the first {LEAVES} of {len(leaves)}"


def fusion_section(run: RunFolder) -> str:
    """The donors' mixing weights, and all other results of a preparation; empty where there was none."""
    fusion = run.prepared.get("fusion")
    rest = {key: value for key, value in run.prepared.items() if key != "fusion"}
    out = ""
    if isinstance(fusion, Mapping):
        out = _shares(fusion)
        rest |= {key: value for key, value in fusion.items() if key not in ("shares", "learned", "maps")}
    if (run.path / ATTENTION).is_file():
        out += guarded(lambda: _picture(run, ATTENTION), ATTENTION)
    if rest:
        text = json.dumps(rest, indent=1, ensure_ascii=False)
        out += folded("All results of the preparation", text if len(text) < LONGEST else f"{text[:LONGEST]} ...")
    return out


def _shares(fusion: Mapping[str, Any]) -> str:
    """How donors were aligned, tables of mixing weights, and their curve over the stage."""
    out = guarded(lambda: bullets(list(alignment_lines(fusion))), "How donors were aligned")
    for network, shares in (fusion.get("shares") or {}).items():
        if shares and any(shares.values()):
            table = lambda network=network: heat_table(mixing_table(fusion, network))
            out += guarded(table, f"Mixing weights of {network.upper()}")
    if fusion.get("learned"):
        for name in fused_generators(fusion):
            chart = lambda name=name: f'<div class="charts"><div>{chart_figure(mixing_chart(fusion, name))}</div></div>'
            out += guarded(chart, "The curve of mixing weights")
    return out


def heat_table(table: Table) -> str:
    """A table of mixing weights; the larger the weight, the darker its cell."""
    (name, *shares), caption = table.columns, table.caption
    head = "".join(f'<th scope="col" class="number">{escape(column.heading)}</th>' for column in shares)
    body = []
    for row in table.rows:
        cells = [f'<th scope="row" class="code">{escape(row[name.key])}</th>']
        for value in (row.get(column.key) for column in shares):
            share = min(1.0, max(0.0, float(value))) if value is not None and is_number(value) else 0.0
            text = "–" if value is None else f"{value:.3f}"
            cells.append(f'<td class="number heat" style="--share:{100 * share:.0f}%">{text}</td>')
        body.append(f"<tr>{''.join(cells)}</tr>")
    first, rows = f'<th scope="col">{escape(name.heading)}</th>', "\n".join(body)
    inner = f"<thead><tr>{first}{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>"
    return f'<div class="wide" tabindex="0"><table class="shares">{inner}</table></div>\n{note(caption)}'


def _picture(run: RunFolder, name: str) -> str:
    import numpy as np
    from PIL import Image

    with Image.open(run.path / name, formats=["PNG"]) as file:
        picture = smaller(np.asarray(file.convert("RGB"))[None], GRID_PX)[0]
    return f'<div class="whole">{image_element(picture, name)}</div>'
