"""Writes a benchmark's results: tables in three formats, curves, grids of every trial, one page."""

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
    """Writes the results of a folder's trials; returns (title, table) of all tables.

    Args:
      config: of the benchmark; rows of other configurations are left out.
      out: folder of `cells.jsonl`; it gets `tables/`, `curves/`, `grids/` and `index.html`.
      command: that makes all of it again, for the page.
    """
    out, all_blocks = Path(out), blocks(config, current(Path(out), config))
    finished = [block for block in all_blocks if block.rows]
    named = list(_tables(config, all_blocks, finished))
    for name, _, table in named:
        for ending, render in FORMATS.items():
            write_atomically(out / "tables" / f"{name}.{ending}", render(table).encode())
    for block in finished:
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
    titled = [(title, table) for _, title, table in named]
    if finished:
        write_report(out / "index.html", make_page(config, finished, titled, out / SAMPLES, command))
    return titled


def _tables(
    config: BenchmarkConfig, all_blocks: list[Block], finished: list[Block]
) -> Iterator[tuple[str, str, Table]]:
    """(file name, title, table) of all tables."""
    if finished:
        yield "overview", "KID, method x target", tables.overview(finished)
    for block in finished:
        yield f"{file_name(block)}-quality", f"Quality: {block.title}", tables.quality(block)
    for block in finished:
        table = tables.reach(config, block)
        if table is not None:
            yield f"{file_name(block)}-reach", f"Time to {config.baseline}'s final KID: {block.title}", table
    if finished:
        yield "cost", "What a step costs", tables.cost(finished)
    if (table := tables.failures(all_blocks)) is not None:
        yield "failures", "What did not run", table


def file_name(block: Block) -> str:
    """`fashion16-boot-100`."""
    return f"{block.source}-{block.target}-{block.shots}"
