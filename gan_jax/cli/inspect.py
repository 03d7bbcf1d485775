"""`gan-jax inspect`: lists the leaves and the provenance of weights, of a checkpoint, or of a run."""

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
from gan_jax.surgery.plan import align
from gan_jax.surgery.provenance import Origin, history_of, origin_of, provenance_lines, step_lines
from gan_jax.trees import did_you_mean, match

Manifest = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Inspect:
    """List the leaves (path, shape, digest, origin) and the provenance of weights, of a checkpoint or of a run.

    For a run folder: the differences of its configuration from the defaults, versions, device, checkpoints, last metrics;
    then the leaves of its weights, or before training has ended, of its newest checkpoint.
    """

    path: Annotated[Positional[str], arg(metavar="PATH")]  # weights, run or checkpoint folder, or embedded:NAME
    match: str = "**"  # only leaves that this pattern covers, as in "g_ema/**/kernel"
    checkpoint: int | None = None  # checkpoint of a run, by its number of images
    provenance: bool = False  # for every leaf, the changes by each transplant and training
    verify: bool = False  # read every value and compare it with the digests
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
        if run is not None:  # describe the run even without weights
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
    """Describes a run: its configuration, versions, device, checkpoints and last metrics."""
    record = read_document(run / "config.json", ConfigError)
    lines = [f"run: {run}"]
    lines += [f"  {line}" for line in differences(Config(), read_config(run))] or ["  all defaults"]
    lines += [f"  {name}: {brief(record[name])}" for name in ("versions", "device") if name in record]
    from gan_jax.train.checkpoint import storage

    complete, unfinished = storage.complete(run / "checkpoints"), storage.unfinished(run / "checkpoints")
    lines.append(f"  checkpoints: {', '.join(map(str, complete)) or 'none'} (images)")
    lines += [f"  unfinished save, never read: {name}" for name in unfinished]
    if (run / "metrics.jsonl").is_file() and (rows := (run / "metrics.jsonl").read_text().splitlines()):
        lines.append(f"  last metrics: {rows[-1]}")
    return [*lines, ""]


def facts(manifest: Manifest) -> list[str]:
    """Lists the entries of a manifest except its leaves, and its history with a line for each step."""
    excluded = ("leaves", "history", "plan", "report", "cursors")
    lines = [f"  {key}: {brief(value)}" for key, value in manifest.items() if key not in excluded]
    steps = [line for i, step in enumerate(history_of(manifest), 1) for line in step_lines(i, step)]
    return [*lines, "  history, oldest first (each leaf's with --provenance):", *(f"  {line}" for line in steps)]


def leaf_lines(manifest: Manifest, pattern: str) -> list[str]:
    """Formats a table of the leaves that a pattern covers, and their totals."""
    leaves: Mapping[str, Any] = manifest["leaves"]
    paths = [path for path in leaves if match(pattern, path)]
    if not paths:
        raise ConfigError(f"no leaf is covered by {pattern!r}{did_you_mean(pattern, leaves)}")
    history = history_of(manifest)
    origin = lambda path: brief_origin(origin_of(history, path))
    head = ("leaf", "shape", "values", "digest", *(["origin"] if history else []))
    size = lambda path: math.prod(leaves[path]["shape"])
    rows = [
        (p, spell(leaves[p]), f"{size(p):,}", (leaves[p]["digest"] or "-")[:12], *([origin(p)] if history else []))
        for p in paths
    ]
    total = f"{len(paths)} leaves, {sum(map(size, paths)):,} values"
    rest = "" if len(paths) == len(leaves) else f" (of {len(leaves)} leaves)"
    return [*align([head, *rows], right=(2,)), total + rest]


def brief_origin(origin: Origin) -> str:
    """Describes the newest change of a leaf, without arguments and digests: `widen <- g_ema/params/stem/kernel`."""
    op, arrow, _ = origin.words.partition(" <- ")
    return f"{op.split('(')[0]}{arrow}{' + '.join(source.path for source in origin.sources)}" if arrow else op


def brief(value: Any) -> str:
    """Formats a JSON value on one line: text without control characters; fields as `name value`."""
    return printable(_brief(value), keep="")


def _brief(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_brief(inner)}" for key, inner in value.items())
    return value if isinstance(value, str) else json.dumps(value)
