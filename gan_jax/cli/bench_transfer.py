"""`gan-jax bench-transfer`: runs methods, targets, shots and seeds under one protocol, and writes their tables."""

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
    """Run the missing trials of a benchmark, then write its tables, curves, grids and page.

    FILE is a Python file with config() -> gan_jax.transfer.benchmark.BenchmarkConfig. Each finished trial is a line of
    cells.jsonl in the folder, so the same command continues after an interruption; after a change of a method's
    configuration its trials run again. A method that refuses the networks, or fails, is a line too.
    """

    start: Annotated[Positional[Path], arg(metavar="FILE")]
    out: Path | None = None  # folder of trials, tables and page; None = runs/ and the name of FILE's folder
    sources: str | None = None  # only these, with commas between; None = all of FILE
    targets: str | None = None  # the same
    methods: str | None = None  # the same
    shots: str | None = None  # the same
    seeds: str | None = None  # the same
    # replicas of a trial as a population in one program, or in series; None = the fastest on this platform
    way: Literal["serial", "population"] | None = None
    again: bool = False  # run failed trials again
    report_only: bool = False  # run nothing; write tables and page of the existing trials

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

    benchmark = load_experiment(args.start, BenchmarkConfig)
    out = args.out or Path("runs") / args.start.resolve().parent.name
    config = restrict(
        benchmark,
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
    for title, table in write_benchmark(benchmark, out, command=f"gan-jax bench-transfer {args.start} --out {out}"):
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
