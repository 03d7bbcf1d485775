"""`gan-jax bench-transfer`: many methods, targets, shots and seeds under one protocol, and their tables."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from tyro.conf import Positional, arg

from gan_jax.cli.arguments import load_experiment, parse
from gan_jax.config import ConfigError


@dataclasses.dataclass(frozen=True)
class BenchTransfer:
    """Runs the cells of a benchmark that are missing, then writes its tables, curves, grids and page.

    FILE is a Python file with config() -> gan_jax.transfer.benchmark.BenchmarkConfig. Each finished cell is a line of
    cells.jsonl in the folder, so the same command goes on after an interruption; a changed configuration of a method runs
    the cells of that method anew. A method that refuses the networks, or breaks on its way, is a line too.
    """

    start: Annotated[Positional[Path], arg(metavar="FILE")]
    out: Path | None = None  # folder of cells, tables and page; None = runs/ and the name of FILE's folder
    sources: str | None = None  # only these, with commas between; None = all of FILE
    targets: str | None = None  # the same
    methods: str | None = None  # the same
    shots: str | None = None  # the same
    seeds: str | None = None  # the same
    # members of a population in one program, or one after the other through one; None = the fastest on this platform
    way: Literal["serial", "population"] | None = None
    again: bool = False  # try cells that failed once more
    report_only: bool = False  # run nothing; tables and page of what there is

    examples: ClassVar[tuple[str, ...]] = (
        "gan-jax bench-transfer experiments/bench_fashion/config.py --out runs/bench",
        "gan-jax bench-transfer experiments/bench_fashion/config.py --methods finetune,freeze_d --seeds 0,1",
    )


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    args = parse(BenchTransfer, argv, verb="bench-transfer")
    from gan_jax.report.benchmark import write_benchmark
    from gan_jax.report.table import print_table
    from gan_jax.transfer.benchmark import BenchmarkConfig, restrict, run_benchmark

    whole = load_experiment(args.start, BenchmarkConfig)
    out = args.out or Path("runs") / args.start.resolve().parent.name
    config = restrict(
        whole,
        sources=_words(args.sources),
        targets=_words(args.targets),
        methods=_words(args.methods),
        shots=_numbers(args.shots, "shots"),
        seeds=_numbers(args.seeds, "seeds"),
    )
    stopped = False
    if not args.report_only:
        note = lambda text: print(text, file=sys.stderr, flush=True)
        stopped = run_benchmark(config, out, way=args.way, again=args.again, note=note)
    for title, table in write_benchmark(whole, out, command=f"gan-jax bench-transfer {args.start} --out {out}"):
        print_table(table, title)
    print(f"page: {out / 'index.html'}")
    return 75 if stopped else 0


def _words(text: str | None) -> list[str] | None:
    return None if text is None else [word.strip() for word in text.split(",")]


def _numbers(text: str | None, what: str) -> list[int] | None:
    try:
        return None if text is None else [int(word) for word in text.split(",")]
    except ValueError:
        raise ConfigError(f"--{what} is {text!r}; use whole numbers with commas between, such as 0,1,2") from None
