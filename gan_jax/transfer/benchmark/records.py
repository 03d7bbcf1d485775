"""Lines of finished trials, one JSON object each: a benchmark resumes from them, and its tables are made from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gan_jax.files import replace
from gan_jax.train.checkpoint_rows import read_rows, to_line
from gan_jax.transfer.benchmark.config import BenchmarkConfig, TrialId, config_hash, trials

TRIALS, SAMPLES = "cells.jsonl", "samples"

Row = dict[str, Any]


def append_trial(folder: Path, row: Row) -> None:
    """Appends a line atomically: a kill in the middle leaves the file as it was."""
    path = folder / TRIALS
    before = [to_line(old) for old in read_rows(path, numbers=())]  # a torn line of another program is left out
    text = "\n".join([*before, to_line(row)]) + "\n"
    replace(path, lambda part: part.write_text(text, encoding="utf-8"))


def identity(row: Row) -> TrialId:
    """The trial of a line."""
    return TrialId(**{field.name: row[field.name] for field in dataclasses.fields(TrialId)})


def identify(config: BenchmarkConfig, trial: TrialId) -> Row:
    """The first fields of a line: the trial, and the hash of its configuration."""
    relation = config.targets[trial.target].relation
    return {**dataclasses.asdict(trial), "relation": relation, "config": config_hash(config, trial)}


def current(folder: Path, config: BenchmarkConfig) -> dict[TrialId, Row]:
    """The lines of this configuration's trials, in its order; lines of other configurations are left out.

    If a trial has several lines, the last one counts.
    """
    rows = {(identity(row), row["config"]): row for row in read_rows(folder / TRIALS, numbers=())}
    keys = [(trial, config_hash(config, trial)) for trial in trials(config)]
    return {key[0]: rows[key] for key in keys if key in rows}


def finished(rows: Iterable[Row]) -> list[Row]:
    """The lines of trials that did not fail."""
    return [row for row in rows if "failed" not in row]


def missing(config: BenchmarkConfig, rows: dict[TrialId, Row], *, again: bool = False) -> list[list[TrialId]]:
    """Trials without a line, grouped into populations; with `again` also trials that failed."""
    groups: dict[Any, list[TrialId]] = {}
    for trial in trials(config):
        if trial not in rows or (again and "failed" in rows[trial]):
            groups.setdefault(trial.group, []).append(trial)
    return list(groups.values())


def restrict(config: BenchmarkConfig, **axes: Sequence[Any] | None) -> BenchmarkConfig:
    """The benchmark with fewer values on some axes; None leaves an axis as it is.

    Raises:
      ConfigError: a value that the benchmark does not have.
    """
    from gan_jax.config import ConfigError
    from gan_jax.trees import did_you_mean

    changes: dict[str, Any] = {}
    for axis, values in axes.items():
        if values is None:
            continue
        present = getattr(config, axis) if axis != "lrs" else config.rates
        for value in values:
            if value not in present:
                names = [str(name) for name in present]
                raise ConfigError(
                    f"this benchmark has no {value!r} among its {axis}{did_you_mean(str(value), names)}; "
                    f"there are {', '.join(names)}"
                )
        changes[axis] = {v: present[v] for v in present if v in values} if isinstance(present, dict) else tuple(values)
    if "methods" in changes and config.baseline not in changes["methods"]:
        changes["baseline"] = None
    return dataclasses.replace(config, **changes)
