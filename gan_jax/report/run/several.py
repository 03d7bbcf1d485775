"""One page of several runs side by side: last numbers, curves by run, newest pictures, warnings."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gan_jax.config import ConfigError, DiagnoseConfig
from gan_jax.metrics.protocol import TITLES
from gan_jax.report.comparison import diagnoses
from gan_jax.report.curves import Chart, Curve
from gan_jax.report.html import Fact, PictureRow, Report, write_report
from gan_jax.report.run import facts
from gan_jax.report.run.findings import averaged, measured
from gan_jax.report.run.folder import RunFolder, attempt, read_run
from gan_jax.report.run.page import BETTER, page_path
from gan_jax.report.run.pictures import SHOWN, STRIP_PX, moments, newest, smaller
from gan_jax.report.table import Column, Table
from gan_jax.train.rows import is_number

DRAWN = ("fd", "kid", "precision", "recall")


def write_runs_page(folders: Sequence[str | Path], out: str | Path, *, quick: bool = False) -> Path:
    """Writes the page that compares several runs; returns its path.

    Args:
      folders: of the runs, two or more.
      out: the file.
      quick: draw no images; show only the sample grids of the runs.

    Raises:
      ConfigError: no run, one that is named twice, or a file at `out` that is no page of ours.
    """
    if len({Path(folder).resolve() for folder in folders}) < len(folders):
        raise ConfigError(f"a run is named twice among {', '.join(map(str, folders))}; name each of them once")
    path, runs = page_path(Path(out)), [read_run(folder) for folder in folders]
    return write_report(path, compare_runs(runs, quick=quick))


def compare_runs(runs: Sequence[RunFolder], *, quick: bool = False) -> Report:
    """The report of several runs. Curves are of the protocol that most runs were measured under."""
    named = dict(zip(names(runs), runs, strict=True))
    lost = [f"{name}: {sentence}" for name, run in named.items() for sentence in run.lost]
    protocols = [row["protocol"] for run in runs for row in run.evaluations[-1:]]
    main = max(dict.fromkeys(protocols), key=protocols.count, default=None)
    comparable = {name: [row for row in run.evaluations if row["protocol"] == main] for name, run in named.items()}
    lost += [f"{name} has no evaluation under protocol {main}, so it stands in no curve." if run.evaluations else
             f"{name} has no evaluation." for name, run in named.items() if not comparable[name]]  # fmt: skip
    limits = next((run.config.diagnose for run in runs if run.config is not None), DiagnoseConfig())
    clean = {name: [_numbers(row) for row in rows] for name, rows in comparable.items() if rows}
    diagnosed = attempt(lambda: diagnoses(clean, limits), "diagnoses", lost) if clean else None
    return Report(
        title=f"{len(runs)} runs side by side",
        summary="\n\n".join(f"{name}: {facts.title(run)}. {facts.status(run)}" for name, run in named.items()),
        results=_table(named, main),
        command=f"gan-jax report {' '.join(shlex.quote(str(run.path)) for run in runs)}",
        facts=tuple(Fact(name, str(run.path), code=True) for name, run in named.items()),
        pictures=tuple(row for name, run in named.items() for row in _strip(name, run, quick, lost)),
        pictures_note="The newest images of each run; of runs with one seed the same latents. Not picked.",
        charts=tuple(_charts(comparable, named)),
        warnings=diagnosed[1] if diagnosed else (),
        diagnoses=diagnosed[0] if diagnosed else None,
        limits=(
            *lost,
            "Runs are compared after as many images as each of them saw, and one seed of each says little of chance.",
        ),
    )


def names(runs: Sequence[RunFolder]) -> list[str]:
    """The last name of each folder where these differ, else their paths."""
    tails = [run.path.resolve().name for run in runs]
    return tails if len(set(tails)) == len(tails) else [str(run.path) for run in runs]


def _table(named: Mapping[str, RunFolder], main: str | None) -> Table:
    ends = [row for run in named.values() for row in run.evaluations[-1:]]
    keys = [key for key in TITLES if not key.endswith("_std") and any(is_number(row.get(key)) for row in ends)]
    rows: list[dict[str, Any]] = []
    for name, run in named.items():
        last = run.evaluations[-1] if run.evaluations else {}
        rows.append({"run": name, "method": run.method, **_numbers(last), "images": run.images, "seconds": run.seconds,
                     "protocol": last.get("protocol")})  # fmt: skip
    same = len({row["protocol"] for row in rows} - {None}) < 2
    columns = (
        Column("run"), Column("method"), Column("images", decimals=0), Column("seconds", "seconds", decimals=0),
        *(Column(key, TITLES[key], better=BETTER.get(key) if same else None) for key in keys),
        *(() if same else (Column("protocol", code=True),)),
    )  # fmt: skip
    caption = "The last evaluation of each run, never its best. " + (
        "No run has an evaluation." if main is None else f"Protocol {main}." if same else
        "The runs were measured under different protocols, so their numbers must not be compared."
    )  # fmt: skip
    return Table(columns, rows, caption, over_seeds=False)


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if value is not None}


def _charts(comparable: Mapping[str, Sequence[Mapping[str, Any]]], named: Mapping[str, RunFolder]) -> list[Chart]:
    out = []
    for key in DRAWN:
        curves = [
            curve for name, rows in comparable.items() if (curve := measured(rows, key, name, least=1)) is not None
        ]
        if any(len(curve.values) > 1 for curve in curves):
            better = "Lower is better." if BETTER[key] == "lower" else "Higher is better."
            out.append(Chart(TITLES[key], TITLES[key], tuple(curves), note=better))
    for key, title in (("loss_d", "Loss of D"), ("loss_g", "Loss of G")):
        curves = []
        for name, run in named.items():
            points = [(row["images"], float(row[key])) for row in run.metrics if is_number(row.get(key))]
            if len(points) > 1:
                curves.append(Curve(name, *averaged(points)))
        if curves:
            out.append(Chart(title, title, tuple(curves)))
    return out


def _strip(name: str, run: RunFolder, quick: bool, lost: list[str]) -> list[PictureRow]:
    problems: list[str] = []
    newer = not quick and run.images > max([0, *run.grids])
    pictures = moments(run, newest(run, SHOWN, problems) if newer else None, problems)
    lost += [f"{name}: {sentence}" for sentence in problems]
    if not pictures:
        lost.append(f"{name} has no images to show yet.")
        return []
    last = pictures[-1]
    return [PictureRow(name, smaller(last.images[:SHOWN], STRIP_PX), f"{last.at:,} images")]
