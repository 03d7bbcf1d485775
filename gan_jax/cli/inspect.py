"""`gan-jax inspect`: the leaves and the provenance of weights, of a checkpoint, or of a run."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from tyro.conf import Positional, arg

from gan_jax.cli.arguments import parse, read_config
from gan_jax.config import Config, ConfigError, differences
from gan_jax.documents import read_document
from gan_jax.files import printable
from gan_jax.interop.diff import spell
from gan_jax.surgery.chain import provenance_lines, step_lines
from gan_jax.surgery.provenance import Origin, history_of, origin_of
from gan_jax.surgery.table import align
from gan_jax.trees import did_you_mean, match

Manifest = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Inspect:
    """List the leaves (path, shape, digest, origin) and the provenance of weights, of a checkpoint or of a run.

    Of a run folder: what its configuration changes from the defaults, versions, device, checkpoints, last metrics;
    then the leaves of its weights, or, where training has not ended, of its newest checkpoint.
    """

    path: Annotated[Positional[str], arg(metavar="PATH")]  # weights, run or checkpoint folder, or embedded:NAME
    match: str = "**"  # only leaves that this pattern covers, as in "g_ema/**/kernel"
    checkpoint: int | None = None  # of a run: the leaves of the checkpoint of so many images
    provenance: bool = False  # for every leaf, what each transplant and each training did to it
    verify: bool = False  # read every value and compare with the digests
    json: bool = False  # print the whole manifest as JSON

    examples: ClassVar[tuple[str, ...]] = (
        "gan-jax inspect run",
        "gan-jax inspect run --provenance --match 'd/**'",
    )


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    args = parse(Inspect, argv, verb="inspect")
    from gan_jax.transfer.source import open_source

    run = Path(args.path) if (Path(args.path) / "config.json").is_file() else None
    try:
        source = open_source(args.path, args.checkpoint)
    except ConfigError:
        if run is not None:  # what the run is can be said all the same
            print(printable("\n".join(run_lines(run))))
        raise
    if args.json:
        print(json.dumps(source.manifest, indent=1))
        return 0
    if args.provenance:
        lines = [source.what, *provenance_lines(source.manifest, args.match)]
    else:
        lines = [*(run_lines(run) if run is not None else []), source.what, *facts(source.manifest), ""]
        lines += leaf_lines(source.manifest, args.match)
    print(printable("\n".join(lines)))
    if args.verify:
        for path in source.manifest["leaves"]:
            source.read(path)
        print("every value is what its digest says")
    return 0


def run_lines(run: Path) -> list[str]:
    """What a run was and how far it got."""
    record = read_document(run / "config.json", ConfigError)
    lines = [f"run: {run}"]
    lines += [f"  {line}" for line in differences(Config(), read_config(run))] or ["  all defaults"]
    lines += [f"  {name}: {brief(record[name])}" for name in ("versions", "device") if name in record]
    from gan_jax.train import checkpoint_store as store

    have, left = store.complete(run / "checkpoints"), store.unfinished(run / "checkpoints")
    lines.append(f"  checkpoints: {', '.join(map(str, have)) or 'none'} (images)")
    lines += [f"  unfinished save, never read: {name}" for name in left]
    if (run / "metrics.jsonl").is_file() and (rows := (run / "metrics.jsonl").read_text().splitlines()):
        lines.append(f"  last metrics: {rows[-1]}")
    return [*lines, ""]


def facts(manifest: Manifest) -> list[str]:
    """Everything in a manifest but its leaves, and its history in a line for each step."""
    apart = ("leaves", "history", "plan", "report", "cursors")
    lines = [f"  {key}: {brief(value)}" for key, value in manifest.items() if key not in apart]
    steps = [line for i, step in enumerate(history_of(manifest), 1) for line in step_lines(i, step)]
    return [*lines, "  history, oldest first (each leaf's with --provenance):", *(f"  {line}" for line in steps)]


def leaf_lines(manifest: Manifest, pattern: str) -> list[str]:
    """A table of the leaves that a pattern covers, and their totals."""
    leaves: Mapping[str, Any] = manifest["leaves"]
    shown = [path for path in leaves if match(pattern, path)]
    if not shown:
        raise ConfigError(f"no leaf is covered by {pattern!r}{did_you_mean(pattern, leaves)}")
    history = history_of(manifest)
    origin = lambda path: brief_origin(origin_of(history, path))
    head = ("leaf", "shape", "values", "digest", *(["origin"] if history else []))
    size = lambda path: math.prod(leaves[path]["shape"])
    rows = [
        (p, spell(leaves[p]), f"{size(p):,}", (leaves[p]["digest"] or "-")[:12], *([origin(p)] if history else []))
        for p in shown
    ]
    total = f"{len(shown)} leaves, {sum(map(size, shown)):,} values"
    rest = "" if len(shown) == len(leaves) else f" (of {len(leaves)} leaves)"
    return [*align([head, *rows], right=(2,)), total + rest]


def brief_origin(origin: Origin) -> str:
    """The newest thing that was done to a leaf, without arguments and digests: `widen <- g_ema/params/stem/kernel`."""
    op, arrow, _ = origin.words.partition(" <- ")
    return f"{op.split('(')[0]}{arrow}{' + '.join(source.path for source in origin.sources)}" if arrow else op


def brief(value: Any) -> str:
    """A JSON value on one line: text as it is, but for control characters; fields as `name value`."""
    return printable(_brief(value), keep="")


def _brief(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_brief(inner)}" for key, inner in value.items())
    return value if isinstance(value, str) else json.dumps(value)
