"""The page of one run: what its folder holds, newly drawn images, and the training images nearest to them."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gan_jax.config import ConfigError
from gan_jax.files import typed, write_atomically
from gan_jax.metrics.protocol import TITLES
from gan_jax.report.grids import make_grid, readable_scale, to_rgb
from gan_jax.report.html import (
    bullets,
    chart_figure,
    escape,
    fact_list,
    image_element,
    paragraphs,
    render_page,
    strips,
    tiles,
)
from gan_jax.report.run import facts, findings
from gan_jax.report.run.facts import at, guarded, note
from gan_jax.report.run.folder import Row, RunFolder, attempt, read_run
from gan_jax.report.run.pictures import (
    GRID_PX,
    Drawn,
    Neighbours,
    Space,
    columns_of,
    moments,
    neighbours,
    newest,
    smaller,
    spread,
    strip_rows,
    translates,
)
from gan_jax.report.table import Column, Table, html_table
from gan_jax.train.rows import is_number
from gan_jax.transfer.record import GRID_IMAGES

# ----------------------------------------------------------------------------------------------------------------------
# The first sections of a run's page as HTML: what was run, pictures, evaluations, curves.
#
# Where a section has no data, a sentence says so.

BETTER: dict[str, Any] = {"fd": "lower", "kid": "lower", "class_kl": "lower", "precision": "higher", "recall": "higher",
                          "density": "higher", "coverage": "higher", "is": "higher"}  # fmt: skip
EVALUATIONS = 60  # rows of the table


def run_section(run: RunFolder) -> str:
    """The facts of a run, and what could not be read."""
    out = fact_list(facts.facts(run))
    if run.lost:
        out += f"<h3>What could not be read, or was left behind</h3>\n{bullets(run.lost)}"
    return out


def pictures_section(run: RunFolder, moments: Sequence[Drawn], lost: Sequence[str]) -> str:
    """Rows of the same latents or inputs over time, and the full newest grid."""
    problems = bullets(lost)
    if not moments:
        return problems + paragraphs("There are no sample grids, and nothing that images could be drawn with yet.")
    last = moments[-1]
    kinds = (
        f"The rows are evenly spread over the {len(run.grids)} grids of the run. "
        if len(run.grids) > len(moments)
        else ""
    )
    same = "latents, not picked, of the moving average of G"
    if translates(run):
        same = (
            "held-out inputs, not picked, each beside its translation by the moving average of G and, where there are any, "
            "its target or the image and translation of the way back"
        )
    text = f"Every row shows the same {same}. {kinds}{_classes(run)}"
    grid = make_grid(last.images, padding=2, scale=readable_scale(last.images))
    grid = smaller(to_rgb(grid[None]), GRID_PX)[0]
    title = f"All {len(last.images)} images after {last.at:,} ({last.origin})"
    width = f"max-width:{max(grid.shape[1], 72 * columns_of(len(last.images)))}px"
    picture = f'<div class="whole" style="{width}">{image_element(grid, title)}</div>'
    return (
        f"{problems}{strips(strip_rows(moments), text)}\n<details><summary>{escape(title)}</summary>{picture}</details>"
    )


def _classes(run: RunFolder) -> str:
    count, names = run.option("net.num_classes", 0), run.data.get("class_names")
    if not count:
        return ""
    named = f": {', '.join(map(str, names[:20]))}" if isinstance(names, list) and names else ""
    return f"Classes come in turn, {count} of them{named}."


def results_section(run: RunFolder) -> str:
    """The table of evaluations."""
    if not run.evaluations:
        off = run.config is not None and run.config.evaluate.features is None
        why = "its evaluate.features is None" if off else "it has not come to one yet"
        measure = f"gan-jax evaluate {typed(run.path)}{facts.measured_by(run)} measures it"
        again = measure if run.weights else f"gan-jax train {typed(run.path)} goes on with it"
        return paragraphs(f"The run has no evaluation: {why}. {again}.")
    protocols = list(dict.fromkeys(row["protocol"] for row in run.evaluations))
    keys = [key for key in TITLES if any(is_number(row.get(key)) for row in run.evaluations)]
    columns = [Column("images", decimals=0), Column("seconds", "seconds", decimals=0)]
    columns += [Column(key, TITLES[key], better=BETTER.get(key)) for key in keys]
    columns += [Column("protocol", code=True)] if len(protocols) > 1 else []
    rows = [
        {key: value for key, value in row.items() if value is not None} for row in spread(run.evaluations, EVALUATIONS)
    ]
    few = (
        f"{len(rows)} of {len(run.evaluations)} evaluations, evenly spread. "
        if len(rows) < len(run.evaluations)
        else ""
    )
    caption = f"{few}Protocol {protocols[0]}: only numbers of one protocol may be compared."
    if len(protocols) > 1:
        caption = f"{few}{len(protocols)} protocols: rows of different ones must not be compared, and what is best is not marked."
        columns = [Column(c.key, c.title, decimals=c.decimals, code=c.code) for c in columns]
    elif len(rows) > 1:
        caption += " The best of each column is bold."
    lost = [f"{at(row)}: {key} was {value}." for row in run.evaluations for key, value in _not_finite(row).items()]
    return html_table(Table(tuple(columns), rows, caption, over_seeds=False)) + "\n" + bullets(lost[:20])


def _not_finite(row: Row) -> Mapping[str, Any]:
    values = row.get("not_finite")
    return values if isinstance(values, Mapping) else {}


def curves_section(run: RunFolder) -> str:
    """Curves of metrics and losses; those of all other numbers folded."""
    out, lost = "", list[str]()
    if run.evaluations:
        name, rows, remaining = findings.latest_protocol(run.evaluations)
        charts = findings.evaluation_charts(rows)
        out += _figures(charts, lost)
        if not charts:
            out += paragraphs(
                "There is one evaluation, so that metrics have no curves: the table above has its numbers."
            )
        elif remaining:
            out += note(f"{remaining} evaluations under other protocols than {name} are not drawn.")
    if len(run.metrics) < 2:
        return out + bullets(lost) + paragraphs("There are too few rows of metrics for curves of losses.")
    out += _figures(findings.training_charts(run.metrics), lost)
    if more := _figures(findings.other_charts(run.metrics), lost):
        out += f"<details><summary>Everything else that was logged</summary>{more}</details>"
    broken = [row for row in run.metrics if _not_finite(row)]
    if broken:
        lost.append(f"{at(broken[0])} values were not finite: {', '.join(_not_finite(broken[0]))}.")
    return out + bullets(list(dict.fromkeys(lost)))


def _figures(charts: Sequence[Any], lost: list[str]) -> str:
    """Charts with two panels below each other; charts with one panel side by side."""
    figures = [(chart, attempt(lambda chart=chart: chart_figure(chart), "curves", lost)) for chart in charts]
    wide = "\n".join(figure for chart, figure in figures if figure and len(chart.axes()) > 1)
    narrow = "\n".join(f"<div>{figure}</div>" for chart, figure in figures if figure and len(chart.axes()) == 1)
    return wide + (f'\n<div class="charts">{narrow}</div>' if narrow else "")


# ----------------------------------------------------------------------------------------------------------------------
# The page as one file.

PAGE = "report.html"
OURS = b"Written by gan_jax."  # in the foot of every page


def write_run_page(
    folder: str | Path,
    out: str | Path | None = None,
    *,
    n: int = 256,
    space: Space = "auto",
    flops: bool = False,
    quick: bool = False,
) -> Path:
    """Writes the page of a run folder; returns its path.

    Args:
      folder: of the run, finished or not.
      out: the file; None = `report.html` in the folder.
      n: generated images whose nearest training images are searched, at least as many as a sample grid has.
      space: in which their distances are measured.
      flops: also count the operations of a step, which traces it.
      quick: draw nothing and read no data: only what the folder holds.

    Raises:
      ConfigError: no run, or a file at `out` that is no page of ours.
    """
    run = read_run(folder)
    path = page_path(Path(folder) / PAGE if out is None else Path(out))
    drawn, lost = None, list[str]()
    if not quick:
        drawn = newest(run, max(n, GRID_IMAGES), lost)
    pictures = moments(run, drawn, lost)
    newest_drawn = drawn or (pictures[-1] if pictures else None)
    nearest = None if quick else neighbours(run, newest_drawn, space)
    operations = attempt(lambda: _flops(run), "the operations of a step", lost) if flops else None
    return write_atomically(
        path, render_run(run, pictures, newest_drawn, nearest, lost, operations).encode("utf-8", "replace")
    )


def render_run(
    run: RunFolder,
    pictures: list[Drawn],
    newest_drawn: Drawn | None,
    nearest: Neighbours | None,
    lost: list[str],
    flops: float | None = None,
) -> str:
    """The page as text.

    Args:
      run: what the folder holds.
      pictures: generated images over time.
      newest_drawn: generated images whose neighbours were searched.
      nearest: their neighbours; None = not searched.
      lost: sentences about what could not be drawn.
      flops: operations of a step; None = not counted.
    """

    def section(render: Callable[..., str], what: str, *args: Any) -> str:
        return guarded(lambda: render(run, *args), what)

    def costs(run: RunFolder) -> str:
        hint = "" if flops is not None else note("Operations of a step are counted by gan-jax report --flops.")
        return fact_list(facts.costs(run, flops)) + hint

    memory = guarded(lambda: findings.memory_section(nearest, newest_drawn), "Nearest training images")
    parts = [
        ("run", "What was run", section(run_section, "What was run")),
        ("pictures", "Pictures over time", section(pictures_section, "Pictures", pictures, lost)),
        ("results", "Evaluations", section(results_section, "Evaluations")),
        ("curves", "Curves", section(curves_section, "Curves")),
        ("diagnoses", "Does anything look wrong?", section(findings.diagnoses_section, "Diagnoses")),
        ("memory", "Does it copy its training images?", memory),
        ("start", "Where it started", section(findings.start_section, "The start")),
        ("fusion", "Results of the preparation", section(findings.fusion_section, "The preparation")),
        ("cost", "Cost", section(costs, "Costs")),
        ("notes", "Messages", section(facts.notes_section, "Notes")),
        ("data", "Data", section(facts.data_section, "Data")),
        ("configuration", "Configuration", section(facts.configuration_section, "The configuration")),
        ("next", "How to go on", section(facts.commands_section, "Commands")),
    ]
    top = paragraphs(facts.lead(run), "lead") + "\n" + tiles(facts.highlights(run))
    command = escape(f"gan-jax report {shlex.quote(str(run.path))}")
    return render_page(facts.title(run), top, parts, f"<p>Made again by <code>{command}</code>.</p>")


def page_path(path: Path) -> Path:
    """The path, if a page may be written there.

    Raises:
      ConfigError: another ending, or a file there that is no page of ours.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--out {path} is no page; give it the ending .html")
    if path.is_dir():
        raise ConfigError(f"--out {path} is a folder; name a file in it: --out {path / PAGE}")
    for parent in path.absolute().parents:
        if parent.exists() and not parent.is_dir():
            raise ConfigError(f"--out {path} lies below {parent}, which is a file; use another folder")
    if path.exists() and OURS not in path.read_bytes():
        raise ConfigError(f"--out {path} is a file that gan-jax did not write; use another name, or move it away")
    return path


def _flops(run: RunFolder) -> float:
    from gan_jax.tasks import networks_of
    from gan_jax.transfer.method import step_flops
    from gan_jax.transfer.methods import make_method

    if run.config is None:
        raise ValueError("the configuration cannot be read")
    return step_flops(run.config, make_method(run.config.transfer, networks_of(run.config)))
