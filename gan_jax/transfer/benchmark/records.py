"""Finished cells, one JSON line each: what a benchmark goes on from, and what its tables are made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gan_jax.files import replace
from gan_jax.train.checkpoint_rows import read_rows, to_line
from gan_jax.transfer.benchmark.config import BenchmarkConfig, CellId, cells, config_hash

CELLS, SAMPLES = "cells.jsonl", "samples"

Row = dict[str, Any]


def append_cell(folder: Path, row: Row) -> None:
    """Appends a line whole or not at all: a kill in the middle of it leaves the file as it was."""
    path = folder / CELLS
    before = [
        to_line(one) for one in read_rows(path, numbers=())
    ]  # without a torn line, should something else have left one
    text = "\n".join([*before, to_line(row)]) + "\n"
    replace(path, lambda part: part.write_text(text, encoding="utf-8"))


def identity(row: Row) -> CellId:
    """Which cell a line is of."""
    return CellId(**{field.name: row[field.name] for field in dataclasses.fields(CellId)})


def identify(config: BenchmarkConfig, cell: CellId) -> Row:
    """What a line begins with: which cell, and the hash of its configuration."""
    relation = config.targets[cell.target].relation
    return {**dataclasses.asdict(cell), "relation": relation, "config": config_hash(config, cell)}


def current(folder: Path, config: BenchmarkConfig) -> dict[CellId, Row]:
    """The lines of this configuration's cells, in its order; those of other configurations are left out.

    Of several lines of one cell the last counts.
    """
    rows = {(identity(row), row["config"]): row for row in read_rows(folder / CELLS, numbers=())}
    wanted = [(cell, config_hash(config, cell)) for cell in cells(config)]
    return {cell: rows[cell, said] for cell, said in wanted if (cell, said) in rows}


def finished(rows: Iterable[Row]) -> list[Row]:
    """Those that came to their end."""
    return [row for row in rows if "failed" not in row]


def missing(config: BenchmarkConfig, rows: dict[CellId, Row], *, again: bool = False) -> list[list[CellId]]:
    """Cells without a line, as populations; `again` = those that failed too."""
    groups: dict[Any, list[CellId]] = {}
    for cell in cells(config):
        if cell not in rows or (again and "failed" in rows[cell]):
            groups.setdefault(cell.group, []).append(cell)
    return list(groups.values())


def restrict(config: BenchmarkConfig, **kept: Sequence[Any] | None) -> BenchmarkConfig:
    """The same benchmark with fewer values on some axes; None leaves an axis as it is.

    Raises:
      ConfigError: a value that the benchmark does not have.
    """
    from gan_jax.config import ConfigError
    from gan_jax.trees import did_you_mean

    changes: dict[str, Any] = {}
    for axis, values in kept.items():
        if values is None:
            continue
        have = getattr(config, axis) if axis != "lrs" else config.rates
        for value in values:
            if value not in have:
                names = [str(one) for one in have]
                raise ConfigError(
                    f"this benchmark has no {value!r} among its {axis}{did_you_mean(str(value), names)}; "
                    f"there are {', '.join(names)}"
                )
        changes[axis] = {v: have[v] for v in have if v in values} if isinstance(have, dict) else tuple(values)
    if "methods" in changes and config.baseline not in changes["methods"]:
        changes["baseline"] = None
    return dataclasses.replace(config, **changes)
