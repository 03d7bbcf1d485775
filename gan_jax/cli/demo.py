"""`gan-jax demo`: the whole job on data inside the package, with a report."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from gan_jax.cli.arguments import parse


@dataclasses.dataclass(frozen=True)
class Demo:
    """Transplant a pair pretrained on clothing into another architecture, adapt it to 100 images, measure, report.

    Takes some minutes on two CPU cores; everything it needs is inside the package. Writes a table to the terminal and
    grids, numbers and one self-contained page to the folder.
    """

    # what to adapt to: ankle boots, coats (classes that the pair never saw), or emoji in colour (far from them)
    target: Literal["boot", "coat", "emoji"] = "boot"
    out: Path = Path("demo")  # folder for runs, pictures and report.html


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    args = parse(Demo, argv, verb="demo")
    raise NotImplementedError(f"demo of {args.target} in {args.out}")
