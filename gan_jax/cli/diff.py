"""`gan-jax diff`: shows the differences between two weights, checkpoints or runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated, ClassVar

from tyro.conf import Positional, arg

from gan_jax.cli.arguments import parse
from gan_jax.files import printable


@dataclasses.dataclass(frozen=True)
class Diff:
    """Show the differences between two weights: leaves in one only, other shapes or dtypes, other values.

    A and B: a weights folder, a run folder (its weights, or its newest checkpoint before training has ended), a
    checkpoint's folder (RUN/checkpoints/48000) or embedded:NAME. Leaves with equal digests are not read.

    Exit codes, as in diff(1): 0 nothing differs; 1 something does; 2 cannot compare.
    """

    a: Annotated[Positional[str], arg(metavar="A")]  # weights, run or checkpoint folder, or embedded:NAME
    b: Annotated[Positional[str], arg(metavar="B")]  # the same
    match: str = "**"  # only leaves that this pattern covers, as in "g_ema/**/kernel"

    examples: ClassVar[tuple[str, ...]] = (
        "gan-jax diff embedded:fashion16 run",
        "gan-jax diff run/checkpoints/48000 run --match 'g_ema/**'",
    )


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    args = parse(Diff, argv, verb="diff")
    from gan_jax.transfer.source import diff

    difference = diff(args.a, args.b, args.match)
    print(printable(difference))
    return 0 if difference.equal else 1
