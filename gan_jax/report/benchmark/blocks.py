"""Blocks of finished trials: those of one source, target and number of shots, which may be compared."""

from __future__ import annotations

import dataclasses
from typing import Any

from gan_jax.transfer.benchmark import BenchmarkConfig, TrialId
from gan_jax.transfer.cells import Trial

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Block:
    """Trials under one protocol.

    Attributes:
      source, target, shots: what the trials have in common; trials from scratch stand in the blocks of all sources.
      relation: of the target to the sources: near or far.
      rows: rows of the finished trials by method, with the learning rate in its name where there are several.
      failures: by method, the reason of each failure and how many trials failed by it.
      title: for headings and file names.
    """

    source: str
    target: str
    shots: int
    relation: str
    rows: dict[str, list[Row]]
    failures: dict[str, dict[str, int]]
    title: str

    @property
    def first(self) -> Row:
        """Any row, for what all rows have in common."""
        return next(iter(self.rows.values()))[0]

    def ends(self, method: str, key: str) -> list[float]:
        """The final value of every seed; empty where it was not measured."""
        return [row["end"][key] for row in self.rows[method] if row["end"].get(key) is not None]

    def cells(self, *methods: str) -> list[Trial]:
        """The trials as `Trial`; with several methods, only the seeds that all of them finished."""
        common = set.intersection(*({row["seed"] for row in self.rows[method]} for method in methods))
        return [
            Trial(
                method, row["seed"], row["train_hash"], row["reference_hash"],
                [{**evaluation, "protocol": row["protocol"]} for evaluation in row["evaluations"]],
            )
            for method in methods for row in self.rows[method] if row["seed"] in common
        ]  # fmt: skip


def blocks(config: BenchmarkConfig, lines: dict[TrialId, Row]) -> list[Block]:
    """All blocks with a finished or failed cell, in the order of the configuration."""
    out = []
    for source in config.sources:
        for target in config.targets:
            for shots in config.shots:
                rows: dict[str, list[Row]] = {}
                failures: dict[str, dict[str, int]] = {}
                for cell, row in lines.items():
                    if (cell.target, cell.shots) != (target, shots) or cell.source not in (None, source):
                        continue
                    name = cell.method + (f", lr {cell.lr:g}" if len(config.rates) > 1 else "")
                    if "failed" in row:
                        reasons = failures.setdefault(name, {})
                        reasons[row["failed"]] = reasons.get(row["failed"], 0) + 1
                    else:
                        rows.setdefault(name, []).append(row)
                if rows or failures:
                    names = [source] * (len(config.sources) > 1) + [target]
                    title = ", ".join([*names, *([f"{shots} shots"] if len(config.shots) > 1 else [])])
                    relation = config.targets[target].relation
                    out.append(Block(source, target, shots, relation, rows, failures, title))
    return out


def baseline(config: BenchmarkConfig, block: Block, method: str) -> str | None:
    """The baseline of a method's learning rate; None where it has not finished."""
    if config.baseline is None:
        return None
    _, comma, rate = method.partition(", ")
    name = config.baseline + comma + rate
    return name if name in block.rows else None
