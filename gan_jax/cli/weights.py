"""`gan-jax weights`: which weights of feature networks there are, and how they come to this machine."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg, subcommand

from gan_jax.cli.arguments import parse


@dataclasses.dataclass(frozen=True)
class List:
    """List the weights of feature networks: licence, size, sha256, where they are had, whether they are here."""

    json: bool = False  # print JSON


@dataclasses.dataclass(frozen=True)
class Get:
    """Put the weights of a feature network into the cache ($GAN_JAX_CACHE, else the platform's folder for caches).

    They come from where they are published and are checked by their sha256. Nothing in the file is run.
    """

    name: Annotated[Positional[str], arg(metavar="NAME")]  # as `gan-jax weights list` names it
    source: Annotated[Path | None, arg(name="from")] = None  # the file or its package, already here; None = download
    again: bool = False  # also where it is in the cache already


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
        print(f"  file     {row['file']}, {row['size'] / 1e6:.1f} MB")
        inside = f" (package {row['package']}, {row['download'] / 1e6:.1f} MB)" if row["package"] else ""
        print(f"  sha256   {row['sha256']}\n  from     {row['url']}{inside}")
        print(f"  licence  {row['licence']}")
    return 0


def catalogue() -> list[dict[str, Any]]:
    """The catalogue as JSON values, and what of it is in the cache."""
    from gan_jax.interop.feature_weights import CATALOGUE
    from gan_jax.metrics.cache import is_there, network_folder

    said = ("what", "licence", "file", "size", "sha256", "url", "package", "download")
    return [
        {"name": name}
        | {key: getattr(published, key) for key in said}
        | {"here": is_there(name), "folder": str(network_folder(name))}
        for name, published in CATALOGUE.items()
    ]


def get(args: Get) -> int:
    """Puts one network's weights into the cache."""
    from gan_jax.interop.feature_weights import CATALOGUE, get_weights
    from gan_jax.metrics.cache import is_there

    there = is_there(args.name) and not args.again
    folder = get_weights(args.name, args.source, again=args.again, progress=_progress)
    published = CATALOGUE[args.name]
    if not there and args.source is None and sys.stderr.isatty():
        print(file=sys.stderr)  # ends the line that counted
    print(f"{'already in' if there else 'wrote'} {folder}\nlicence: {published.licence}")
    print(f"use it: gan-jax evaluate RUN --evaluate.features {args.name}")
    return 0


def _progress(count: int) -> None:
    """A line that counts on a terminal; elsewhere nothing."""
    if sys.stderr.isatty():
        print(f"\r{count / 1e6:.0f} MB", end="", file=sys.stderr, flush=True)
