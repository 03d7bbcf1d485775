"""The page of a benchmark: overview, pictures of one seed, curves, all tables, costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gan_jax.report.benchmark.blocks import Block
from gan_jax.report.content import Cost, Fact, PictureRow, Report
from gan_jax.report.curves import Chart
from gan_jax.report.seeds import make_chart
from gan_jax.report.table import Table
from gan_jax.transfer.benchmark import BenchmarkConfig
from gan_jax.transfer.benchmark.config import TrialId
from gan_jax.transfer.benchmark.records import identity

SHOWN = 10  # images in a row of the page
CURVES = 4  # methods in a chart, beside those that stand in every one
ALWAYS = ("scratch", "finetune")


def charts(config: BenchmarkConfig, block: Block, key: str = "kid") -> list[Chart]:
    """Means with intervals over images and seconds; few methods in each chart, the same two beside them in all."""
    steady = [name for name in block.rows if name.partition(",")[0] in ALWAYS]
    others = [name for name in block.rows if name not in steady]
    lots = [others[i : i + CURVES] for i in range(0, len(others), CURVES)] or [[]]
    out = []
    for lot in lots:
        names = {name: name for name in [*steady, *lot]}
        cells = [cell for name in names for cell in block.cells(name)]
        chart = make_chart(cells, names, key)
        out.append(_titled(chart, f"{block.title} ({block.relation}): {chart.title}"))
    return out


def strips(block: Block, samples: Path) -> list[PictureRow]:
    """Real images, then a row for each method: its first seed, not picked."""
    out = []
    if (real := samples / f"real-{block.target}.npy").exists():
        out.append(PictureRow(f"{block.title}: real", np.load(real, allow_pickle=False)[:SHOWN], "not trained on"))
    for name, rows in block.rows.items():
        cell: TrialId = identity(rows[0])
        if (path := samples / f"{cell.name}.npy").exists():
            images = np.load(path, allow_pickle=False)[:SHOWN]
            out.append(PictureRow(f"{block.title}: {name}", images, f"seed {cell.seed}"))
    return out


def make_page(
    config: BenchmarkConfig, found: Sequence[Block], shown: Sequence[tuple[str, Table]], samples: Path, command: str
) -> Report:
    """The page of blocks with finished cells; `shown` are all tables, the overview first."""
    lines = {name: rows[0] for block in reversed(found) for name, rows in block.rows.items()}
    first, runs = found[0].first, sum(len(rows) for block in found for rows in block.rows.values())
    device = first["device"]
    return Report(
        title=config.title,
        summary=(
            f"{len(lines)} methods on {', '.join(block.title for block in found)}: "
            f"{runs} runs of {first['images']:,} images each (batch {config.base.train.batch}), a method's preparation "
            "counted; the same recipe, networks and seeds for all. Each number is of the last state of a run, never of its best."
        ),
        results=shown[0][1],
        tables=tuple(shown[1:]),
        command=command,
        facts=(
            *(Fact(f"protocol, {block.title}", block.first["protocol"], code=True) for block in found),
            Fact("sources", ", ".join(config.sources.values()), code=True),
            Fact("seeds", ", ".join(map(str, config.seeds))),
            Fact("device", f"{device['count']} x {device['kind']}"),
        ),
        versions=first["versions"],
        pictures=tuple(row for block in found for row in strips(block, samples)),
        pictures_note="The same latents in every row of a target; the first of them, not picked.",
        charts=tuple(chart for block in found for chart in charts(config, block)),
        costs=tuple(Cost(name, row["flops_per_step"]) for name, row in _finetune_first(lines).items()),
        costs_note="One step of D and G, as XLA counts it. What is done in some steps only counts as if in each.",
        limits=tuple(
            f"{block.title}: the feature network does not know such images; its numbers rank methods on this target only."
            for block in found if block.first["relative_only"]
        ),
    )  # fmt: skip


def _finetune_first(lines: dict[str, dict]) -> dict[str, dict]:
    return {name: lines[name] for name in sorted(lines, key=lambda name: name.partition(",")[0] != "finetune")}


def _titled(chart: Chart, title: str) -> Chart:
    import dataclasses

    return dataclasses.replace(chart, title=title)
