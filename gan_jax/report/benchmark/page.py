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
CURVES = 4  # methods in a chart, without those that stand in every one
ALWAYS = ("scratch", "finetune")


def charts(config: BenchmarkConfig, block: Block, key: str = "kid") -> list[Chart]:
    """Means with intervals over images and seconds; few methods in each chart, with `ALWAYS` in all of them."""
    steady = [name for name in block.rows if name.partition(",")[0] in ALWAYS]
    remaining = [name for name in block.rows if name not in steady]
    groups = [remaining[i : i + CURVES] for i in range(0, len(remaining), CURVES)] or [[]]
    out = []
    for group in groups:
        names = {name: name for name in [*steady, *group]}
        cells = [cell for name in names for cell in block.cells(name)]
        chart = make_chart(cells, names, key)
        out.append(_titled(chart, f"{block.title} ({block.relation}): {chart.title}"))
    return out


def strips(block: Block, samples: Path) -> list[PictureRow]:
    """A row of real images, then a row for each method: its first seed, not picked."""
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
    config: BenchmarkConfig, blocks: Sequence[Block], tables: Sequence[tuple[str, Table]], samples: Path, command: str
) -> Report:
    """The page of blocks with finished trials.

    Args:
      config: of the benchmark.
      blocks: with finished trials.
      tables: (title, table) of all tables, the overview first.
      samples: folder of the trials' images.
      command: that makes the page again.
    """
    lines = {name: rows[0] for block in reversed(blocks) for name, rows in block.rows.items()}
    first, runs = blocks[0].first, sum(len(rows) for block in blocks for rows in block.rows.values())
    device = first["device"]
    return Report(
        title=config.title,
        summary=(
            f"{len(lines)} methods on {', '.join(block.title for block in blocks)}: "
            f"{runs} runs of {first['images']:,} images each (batch {config.base.train.batch}), a method's preparation "
            "counted; the same recipe, networks and seeds for all. Each number is of the last state of a run, never of its best."
        ),
        results=tables[0][1],
        tables=tuple(tables[1:]),
        command=command,
        facts=(
            *(Fact(f"protocol, {block.title}", block.first["protocol"], code=True) for block in blocks),
            Fact("sources", ", ".join(config.sources.values()), code=True),
            Fact("seeds", ", ".join(map(str, config.seeds))),
            Fact("device", f"{device['count']} x {device['kind']}"),
        ),
        versions=first["versions"],
        pictures=tuple(row for block in blocks for row in strips(block, samples)),
        pictures_note="The same latents in every row of a target; the first of them, not picked.",
        charts=tuple(chart for block in blocks for chart in charts(config, block)),
        costs=tuple(Cost(name, row["flops_per_step"]) for name, row in _finetune_first(lines).items()),
        costs_note="One step of D and G, as XLA counts it. What is done in some steps only counts as if in each.",
        limits=tuple(
            f"{block.title}: the feature network does not know such images; its numbers rank methods on this target only."
            for block in blocks if block.first["relative_only"]
        ),
    )  # fmt: skip


def _finetune_first(lines: dict[str, dict]) -> dict[str, dict]:
    return {name: lines[name] for name in sorted(lines, key=lambda name: name.partition(",")[0] != "finetune")}


def _titled(chart: Chart, title: str) -> Chart:
    import dataclasses

    return dataclasses.replace(chart, title=title)
