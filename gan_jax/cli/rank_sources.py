"""`gan-jax rank-sources`: ranks pretrained pairs as sources by recall, without training."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from tyro.conf import Positional

from gan_jax.cli.arguments import parse, peek
from gan_jax.config import DataConfig
from gan_jax.files import printable
from gan_jax.seeds import check_seed

if TYPE_CHECKING:
    from gan_jax.report.table import Table
    from gan_jax.transfer.diagnostics import Ranking


@dataclasses.dataclass(frozen=True)
class RankSources:
    """Rank pretrained pairs by how much of new data their samples reach (recall), before training.

    The source with the highest recall is the best choice (Grigoryev et al., ICLR 2022). Precision and FD are shown too but
    predict worse: they favour a source that looks like the target, not one that covers all of it. If no source covers any
    of it, none is recommended.
    """

    # weights folders, run folders or embedded:NAME; a data set as first word is the target; none = the pairs of this machine
    sources: Positional[tuple[str, ...]] = ()
    data: DataConfig = DataConfig()  # the target; with data.shots only these images are used
    features: str = "fashion-v1"  # feature network, see gan-jax weights list
    n: int = 2000  # samples per source
    k: int = 5  # neighbours for recall
    seed: int = 0  # seed of the samples

    examples: ClassVar[tuple[str, ...]] = (
        "gan-jax rank-sources embedded:fashion16 runs/fast --data.source folder:photos",
        "gan-jax rank-sources embedded:fashion16 --data.classes 9 --n 500",
    )


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    args = parse(RankSources, data_as_option(argv), verb="rank-sources")
    check_seed(args.seed, "--seed")
    from gan_jax.report.table import print_table
    from gan_jax.transfer.diagnostics import advice, rank_sources
    from gan_jax.transfer.diagnostics.sources import candidates
    from gan_jax.transfer.models import unfinished

    sources = args.sources or tuple(candidates())
    for message in filter(None, map(unfinished, sources)):
        print(printable(f"gan-jax rank-sources: {message}"), file=sys.stderr)
    ranking = rank_sources(sources, args.data, features=args.features, n=args.n, k=args.k, seed=args.seed)
    print_table(table(ranking), f"Sources for {args.data.source}")
    for note in ranking.notes:
        print(printable(f"note: {note}"))
    print(printable(advice(ranking)))
    return 0


def data_as_option(argv: Sequence[str]) -> list[str]:
    """Turns data as first word into an option: `folder:photos A B` as `A B --data.source folder:photos`."""
    from gan_jax.cli.choosing import data_spec
    from gan_jax.data import is_pair_spec
    from gan_jax.data.sources import EMBEDDED

    words = list(argv)
    spec = None
    if words and not words[0].startswith("-"):
        spec = words[0] if is_pair_spec(words[0]) else data_spec(words[0])
    kind, _, name = (spec or "").partition(":")
    if spec is None or (kind == "embedded" and name not in EMBEDDED) or peek(words, "--data.source") is not None:
        return words
    rest = words[1:]
    first = next((i for i, word in enumerate(rest) if word.startswith("-")), len(rest))
    return [*rest[:first], "--data.source", spec, *rest[first:]]


def table(ranking: Ranking) -> Table:
    """Makes a table with a row for each source, the best first."""
    from gan_jax.report.table import Column, Table

    columns = (
        Column("source", code=True),
        Column("recall", better="higher"),
        *(Column(name) for name in ("coverage", "precision")),
        Column("kid", f"KID ({ranking.features})"),
        Column("fd", f"FD ({ranking.features})"),
    )
    caption = (
        f"By recall: the share of {ranking.n_target} target images within reach of {ranking.n_source} samples of a source "
        f"({ranking.k} neighbours, {ranking.features}). Precision and FD are worse predictors of what a source is worth."
    )
    return Table(columns, [score._asdict() for score in ranking.scores], caption)
