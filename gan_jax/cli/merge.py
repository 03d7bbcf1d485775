"""`gan-jax merge`: several weights into one, leaf by leaf, without training."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar

from tyro.conf import Positional, arg

from gan_jax.cli.arguments import parse
from gan_jax.files import claim_output, typed
from gan_jax.seeds import check_seed, root_key


@dataclasses.dataclass(frozen=True)
class Merge:
    """Merge weights of one architecture in closed form, on disk: memory holds some leaves, and never a network.

    Channels are taken in the order in which they are: networks that were not fine-tuned from one start are aligned
    first (gan-jax align), which wants them whole. Running statistics are averaged, and are to be measured anew: by
    training on, or with gan-jax fuse --method merge, which merges, measures and fine-tunes. The manifest names all.

    KIND is uniform, average (with --weights), slerp, karcher, or over a --base task_arithmetic, ties, dare_linear,
    dare_ties.
    """

    sources: Annotated[Positional[tuple[str, ...]], arg(metavar="A B ...")]  # weights, runs, embedded:NAME
    out: Path  # folder to write the weights to
    kind: str = "uniform"  # how they are merged
    base: str | None = None  # what they were fine-tuned from; None = the kind needs none
    weights: tuple[float, ...] | None = None  # one for each; None = all count alike
    t: float | None = None  # slerp: 0 = A, 1 = B; None = 0.5
    density: float | None = None  # ties, dare: part of each task vector that is kept; None = the published one
    lam: float | None = None  # factor of the merged task vector; None = 1
    seed: int = 0  # of what DARE drops
    overwrite: bool = False  # allow weights that are in --out to be replaced

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
    from gan_jax.interop.save import FILES
    from gan_jax.transfer.source import open_source

    if len(args.sources) < 2:
        raise MergeError(
            f"a merge is of two weights or more, but there are {len(args.sources)}: gan-jax merge A B --out DIR"
        )
    claim_output(args.out, overwrite=args.overwrite, ours=FILES)
    given = {name: getattr(args, name) for name in ("weights", "t", "density", "lam")}
    given = {name: value for name, value in given.items() if value is not None}
    needs = MERGES[args.kind].needs if args.kind in MERGES else ()
    if "base" in needs and args.base is None:
        raise MergeError(f"merge {args.kind} is of what was learned beyond a common start; name that with --base")
    if "base" not in needs and args.base is not None:
        raise MergeError(f"merge {args.kind} has no base; leave --base out, or use --kind ties or another over a base")
    if "key" in needs:
        given["key"] = root_key(args.seed)
    base = None if args.base is None else open_source(args.base)
    sources = [open_source(one) for one in args.sources]
    for source in [*sources, *([base] if base else [])]:
        source.check()
    merge_streamed(args.out, sources, args.kind, base=base, **given)
    print(f"{args.kind} merge of {', '.join(args.sources)}")
    print(f"wrote {args.out}: gan-jax sample {typed(args.out)}")
    return 0
