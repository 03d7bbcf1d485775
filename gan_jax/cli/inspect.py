"""`gan-jax inspect`: the leaves and the provenance of weights, of a checkpoint, or of a run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from gan_jax.cli.arguments import parse, read_config
from gan_jax.config import Config, ConfigError, differences
from gan_jax.trees import did_you_mean, match

Manifest = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Inspect:
    """List the leaves (path, shape, digest, origin) and the provenance of weights, of a checkpoint or of a run.

    Of a run folder: what its configuration changes from the defaults, versions, device, checkpoints, last metrics;
    then the leaves of its weights, or, where training has not ended, of its newest checkpoint.
    """

    path: Annotated[Positional[str], arg(metavar="PATH")]  # weights folder, run folder or embedded:NAME
    match: str = "**"  # only leaves that this pattern covers, as in "g_ema/**/kernel"
    checkpoint: int | None = None  # of a run: the leaves of the checkpoint of so many images
    verify: bool = False  # read every value of the weights and compare with the digests
    json: bool = False  # print the whole manifest as JSON


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    args = parse(Inspect, argv, verb="inspect")
    run = Path(args.path) if (Path(args.path) / "config.json").is_file() else None
    what, manifest = find_manifest(args.path, run, args.checkpoint)
    if args.json:
        print(json.dumps(manifest, indent=1))
        return 0
    lines = run_lines(run) if run is not None else []
    print("\n".join([*lines, what, *facts(manifest), "", *leaf_lines(manifest, args.match)]))
    if args.verify:
        from gan_jax.interop import load_weights

        if "checkpoint" in manifest["format"]:
            raise ConfigError("--verify reads weights; a checkpoint is checked when a run goes on from it")
        load_weights(weights_folder(args.path, run))
        print("every value is what its digest says")
    return 0


def find_manifest(path: str, run: Path | None, images: int | None) -> tuple[str, Manifest]:
    """What is shown, as a line, and its manifest.

    Args:
      path: weights, `embedded:NAME` or a run.
      run: the same as a folder if it is a run.
      images: of the wanted checkpoint; None = the weights, else the newest checkpoint.
    """
    from gan_jax.interop.weights import load_manifest
    from gan_jax.train import checkpoint_store as store

    if run is None and images is not None:
        raise ConfigError(f"--checkpoint {images} wants a run folder, and {path} has no config.json")
    if run is None or (images is None and (run / "weights").is_dir()):
        return f"weights: {weights_folder(path, run)}", load_manifest(weights_folder(path, run))
    have = store.complete(run / "checkpoints")
    if not have:
        raise ConfigError(f"run {run} has no weights and no complete checkpoint yet")
    if images is not None and images not in have:
        raise ConfigError(f"run {run} has no checkpoint of {images} images; there are {', '.join(map(str, have))}")
    folder = run / "checkpoints" / str(have[-1] if images is None else images)
    return f"checkpoint: {folder}", store.read_manifest(folder)


def weights_folder(path: str, run: Path | None) -> str:
    """Where the weights of a path are: itself, or in a run's folder."""
    return path if run is None else str(run / "weights")


def run_lines(run: Path) -> list[str]:
    """What a run was and how far it got."""
    record = json.loads((run / "config.json").read_text(encoding="utf-8"))
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
    """Everything in a manifest but its leaves and its plan, one a line."""
    return [f"  {key}: {brief(value)}" for key, value in manifest.items() if key not in ("leaves", "plan", "cursors")]


def leaf_lines(manifest: Manifest, pattern: str) -> list[str]:
    """A table of the leaves that a pattern covers, and their totals."""
    leaves: Mapping[str, Any] = manifest["leaves"]
    shown = [path for path in leaves if match(pattern, path)]
    if not shown:
        raise ConfigError(f"no leaf is covered by {pattern!r}{did_you_mean(pattern, leaves)}")
    origins = origins_of(manifest.get("plan"))
    head = ("leaf", "shape", "values", "digest", "origin" if origins else "")
    rows = [
        (p, spell(leaves[p]), f"{size(leaves[p]):,}", (leaves[p]["digest"] or "-")[:12], origins.get(p, ""))
        for p in shown
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    line = lambda row: "  ".join(
        cell.rjust(w) if i == 2 else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
    ).rstrip()
    total = f"{len(shown)} leaves, {sum(size(leaves[p]) for p in shown):,} values"
    rest = "" if len(shown) == len(leaves) else f" (of {len(leaves)} leaves)"
    return [line(head), "  ".join("-" * w for w in widths if w), *map(line, rows), total + rest]


def origins_of(plan: Any) -> dict[str, str]:
    """`{leaf: "widen <- g/params/stem/kernel"}` from a plan's JSON; nothing where there is none."""
    if isinstance(plan, str):
        plan = json.loads(plan)
    entries = plan.get("entries", []) if isinstance(plan, dict) else []
    return {e["target"]: f"{e['op']} <- {' + '.join(e['sources'])}" if e["sources"] else e["op"] for e in entries}


def spell(leaf: Mapping[str, Any]) -> str:
    """`float32[3,3,1,24]`."""
    return f"{leaf['dtype']}[{','.join(map(str, leaf['shape']))}]"


def size(leaf: Mapping[str, Any]) -> int:
    """How many values a leaf has."""
    count = 1
    for side in leaf["shape"]:
        count *= side
    return count


def brief(value: Any) -> str:
    """A JSON value on one line: text as it is, fields as `name value`."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {brief(inner)}" for key, inner in value.items())
    return value if isinstance(value, str) else json.dumps(value)
