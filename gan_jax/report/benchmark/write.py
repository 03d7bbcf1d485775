"""Everything that a benchmark shows, as files: tables in three formats, curves, grids of every cell, one page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gan_jax.report.benchmark import tables
from gan_jax.report.benchmark.blocks import Block, blocks
from gan_jax.report.benchmark.page import charts, make_page, strips
from gan_jax.report.curves import write_curves
from gan_jax.report.files import write_atomically
from gan_jax.report.grids import labelled_grid, make_grid, readable_scale, write_png
from gan_jax.report.html import write_report
from gan_jax.report.table import Table, markdown_table
from gan_jax.report.table_files import csv_table, latex_table
from gan_jax.transfer.benchmark import BenchmarkConfig, current
from gan_jax.transfer.benchmark.records import SAMPLES

FORMATS = {"md": markdown_table, "csv": csv_table, "tex": latex_table}


def write_benchmark(config: BenchmarkConfig, out: str | Path, command: str = "") -> list[tuple[str, Table]]:
    """Writes what there is to show of a folder's cells; returns the tables with their titles.

    Args:
      config: of the benchmark; lines of other configurations are left out.
      out: folder of `cells.jsonl`; files come beside it: `tables/`, `curves/`, `grids/`, `index.html`.
      command: that makes all of it again, for the page.
    """
    out, found = Path(out), blocks(config, current(Path(out), config))
    whole = [block for block in found if block.rows]
    named = list(_tables(config, found, whole))
    for name, _, table in named:
        for ending, render in FORMATS.items():
            write_atomically(out / "tables" / f"{name}.{ending}", render(table).encode())
    for block in whole:
        name = file_name(block)
        for i, chart in enumerate(charts(config, block)):
            write_curves(out / "curves" / f"{name}-{i + 1}.png", chart)
        rows = strips(block, out / SAMPLES)
        if rows:
            write_png(out / "grids" / f"{name}.png", labelled_grid([(row.label, row.images) for row in rows]))
    for path in sorted((out / SAMPLES).glob("*.npy")):
        images = np.load(path, allow_pickle=False)
        grid = make_grid(images, scale=readable_scale(images))
        write_png(out / "grids" / f"{path.stem}.png", grid)
    shown = [(title, table) for _, title, table in named]
    if whole:
        write_report(out / "index.html", make_page(config, whole, shown, out / SAMPLES, command))
    return shown


def _tables(config: BenchmarkConfig, found: list[Block], whole: list[Block]) -> Iterator[tuple[str, str, Table]]:
    """(file name, title, table) of all."""
    if whole:
        yield "overview", "KID, method x target", tables.overview(whole)
    for block in whole:
        yield f"{file_name(block)}-quality", f"Quality: {block.title}", tables.quality(block)
    for block in whole:
        table = tables.reach(config, block)
        if table is not None:
            yield f"{file_name(block)}-reach", f"Time to {config.baseline}'s final KID: {block.title}", table
    if whole:
        yield "cost", "What a step costs", tables.cost(whole)
    if (table := tables.failures(found)) is not None:
        yield "failures", "What did not run", table


def file_name(block: Block) -> str:
    """`fashion16-boot-100`."""
    return f"{block.source}-{block.target}-{block.shots}"
