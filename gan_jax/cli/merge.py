"""`gan-jax merge`: merges several weights into one, leaf by leaf, without training."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar

from tyro.conf import Positional, arg

from gan_jax.cli.arguments import parse
from gan_jax.cli.train import next_command
from gan_jax.files import claim_output
from gan_jax.seeds import check_seed, root_key


@dataclasses.dataclass(frozen=True)
class Merge:
    """Merge weights of one architecture in closed form, on disk: memory holds a few leaves, never a full network.

    Channels are not reordered: align networks first that were not fine-tuned from one start (gan-jax align). Running
    statistics are averaged and must be recalibrated: by further training, or with gan-jax fuse --method merge, which
    merges, recalibrates and fine-tunes. Of two translators each network is merged with its own like. The manifest names all
    sources.

    KIND is uniform, average (with --weights), slerp, karcher, or over a --base task_arithmetic, ties, dare_linear,
    dare_ties.
    """

    sources: Annotated[Positional[tuple[str, ...]], arg(metavar="A B ...")]  # weights, runs, embedded:NAME
    out: Path  # folder to write the weights to
    kind: str = "uniform"  # kind of merge
    base: str | None = None  # weights that they were fine-tuned from; None = the kind needs none
    weights: tuple[float, ...] | None = None  # one for each; None = equal weights
    t: float | None = None  # slerp: 0 = A, 1 = B; None = 0.5
    density: float | None = None  # ties, dare: part of each task vector that is kept; None = the published one
    lam: float | None = None  # factor of the merged task vector; None = 1
    seed: int = 0  # seed of the values that DARE drops
    overwrite: bool = False  # replace weights in --out

    examples: ClassVar[tuple[str, ...]] = (
        "gan-jax merge runs/a runs/b --out merged",
        "gan-jax merge a b --kind average --weights 0.7 0.3 --out merged",
    )


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    args = parse(Merge, argv, verb="merge")
    check_seed(args.seed, "--seed")

    from gan_jax.fusion.merges import MERGES
    from gan_jax.fusion.merges.leaves import MergeError
    from gan_jax.fusion.merges.streamed import merge_streamed
    from gan_jax.interop.weights import FILES
    from gan_jax.transfer.source import open_source

    if len(args.sources) < 2:
        raise MergeError(
            f"a merge is of two weights or more, but there are {len(args.sources)}: gan-jax merge A B --out DIR"
        )
    claim_output(args.out, overwrite=args.overwrite, ours=FILES)
    options = {name: getattr(args, name) for name in ("weights", "t", "density", "lam")}
    options = {name: value for name, value in options.items() if value is not None}
    needs = MERGES[args.kind].needs if args.kind in MERGES else ()
    if "base" in needs and args.base is None:
        raise MergeError(f"merge {args.kind} merges what was learned beyond a common start; name that with --base")
    if "base" not in needs and args.base is not None:
        raise MergeError(f"merge {args.kind} has no base; leave --base out, or use --kind ties or another over a base")
    if "key" in needs:
        options["key"] = root_key(args.seed)
    base = None if args.base is None else open_source(args.base)
    sources = [open_source(name) for name in args.sources]
    for source in [*sources, *([base] if base else [])]:
        source.check()
    merge_streamed(args.out, sources, args.kind, base=base, **options)
    print(f"{args.kind} merge of {', '.join(args.sources)}")
    print(f"wrote {args.out}: {next_command(sources[0].net, args.out)}")
    return 0
