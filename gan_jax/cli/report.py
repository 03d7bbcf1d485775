"""`gan-jax report`: writes an HTML page of a run, or of several side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from tyro.conf import Positional, arg

from gan_jax.cli.arguments import parse
from gan_jax.config import ConfigError


@dataclasses.dataclass(frozen=True)
class ReportArgs:
    """Write one HTML page of a run: pictures over time, curves, evaluations, nearest training images, diagnoses, cost.

    Any run folder works, finished or not, with or without evaluations; the page names missing and damaged parts. The file is
    self-contained. Several folders give one page that compares them.
    """

    path: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN", help_behavior_hint="")]  # run folders
    out: Path | None = None  # the page; None = report.html in the run folder, for several runs report.html here
    n: int = 256  # generated images to find the nearest training images of
    # space of the distances; auto = the features of the run's evaluation, else pixels
    space: Literal["auto", "pixels", "features"] = "auto"
    flops: bool = False  # also count the operations of a training step, which needs its compilation
    quick: bool = False  # generate no images and read no data: use only the run folder

    examples: ClassVar[tuple[str, ...]] = (
        "gan-jax report run",
        "gan-jax report runs/a runs/b --out comparison.html",
    )


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    args = parse(ReportArgs, argv, verb="report")
    folders = list[Path](args.path)
    if not folders:
        raise ConfigError("name a run folder: gan-jax report runs/NAME")
    if args.n < 1:
        raise ConfigError(f"--n is {args.n}; use at least 1")
    from gan_jax.report.run import write_run_page, write_runs_page

    if len(folders) > 1:
        page = write_runs_page(folders, args.out or Path("report.html"), quick=args.quick)
    else:
        options = {"n": args.n, "space": args.space, "flops": args.flops, "quick": args.quick}
        page = write_run_page(folders[0], args.out, **options)
    print(f"report: {page}")
    return 0
