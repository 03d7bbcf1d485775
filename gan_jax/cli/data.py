"""`gan-jax data`: prepare data sets, or say what is in one."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg, subcommand

from gan_jax.cli.arguments import parse
from gan_jax.config import ConfigError


@dataclasses.dataclass(frozen=True)
class Info:
    """Say what is in a data set: count, size, channels, classes, fingerprint."""

    # embedded:NAME, tfds:NAME[:SPLIT], folder:PATH, zip:PATH, npz:PATH or idx:PATH[:SPLIT]
    spec: Annotated[Positional[str], arg(metavar="SPEC")]
    json: bool = False  # print JSON
    grid: Path | None = None  # also write the first 64 images to this PNG


@dataclasses.dataclass(frozen=True)
class Prepare:
    """Turn a folder, zip, npz or idx files into a TFDS data set (array_record), which `tfds:FOLDER` reads.

    SPEC is the split "train"; several splits are named: train=folder:a test=folder:b
    """

    spec: Annotated[Positional[tuple[str, ...]], arg(metavar="SPEC")]  # what to read, as for `gan-jax data info`
    name: str  # of the data set: small letters, digits and underscores
    out: Path  # folder that keeps TFDS data sets; the set goes to OUT/NAME/VERSION
    version: str = "1.0.0"  # of the data set
    resolution: int | None = None  # height and width to resize to, px; None = as they are
    channels: int | None = None  # 1 grey, 3 RGB, 4 RGBA; None = as they are
    crop: bool = False  # cut images that are not square to their centre
    description: str = ""  # a sentence to keep with the set
    overwrite: bool = False  # replace a set of the same name and version


Command = Annotated[Info, subcommand("info")] | Annotated[Prepare, subcommand("prepare")]


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    command: Any = parse(Command, argv, verb="data")  # type: ignore[arg-type]
    return info(command) if isinstance(command, Info) else prepare(command)


def info(args: Info) -> int:
    """Prints what a data set holds."""
    from gan_jax.data import describe, load

    images = load(args.spec)
    facts = describe(images)
    print(json.dumps(facts, indent=2) if args.json else facts_text(facts))
    if args.grid is not None:
        from gan_jax.report.grids import make_grid, write_png

        args.grid.parent.mkdir(parents=True, exist_ok=True)
        print(f"wrote {write_png(args.grid, make_grid(images.images[:64]))}")
    return 0


def prepare(args: Prepare) -> int:
    """Writes a TFDS data set."""
    from gan_jax.data import prepare as write

    folder = write(
        splits(args.spec),
        args.out,
        args.name,
        version=args.version,
        resolution=args.resolution,
        channels=args.channels,
        crop=args.crop,
        description=args.description,
        overwrite=args.overwrite,
    )
    print(f"wrote {folder}: gan-jax data info tfds:{folder}")
    return 0


def splits(specs: Sequence[str]) -> dict[str, str]:
    """`train=folder:a test=folder:b` as a mapping; a single spec without a name is the split train."""
    if len(specs) == 1 and not re.match(r"\w+=", specs[0]):
        return {"train": specs[0]}
    named = [spec.partition("=") for spec in specs]
    if not named or not all(re.fullmatch(r"\w+", name) and value for name, _, value in named):
        raise ConfigError(f"name every split: train={specs[0] if specs else 'SPEC'} test=SPEC")
    if len({name for name, _, _ in named}) < len(named):
        raise ConfigError("a split is named twice")
    return {name: value for name, _, value in named}


def facts_text(facts: dict[str, Any]) -> str:
    """Facts, one a line, aligned; the classes indented below."""
    lines = []
    for name, value in facts.items():
        if isinstance(value, dict):
            lines.append(f"{name}: {len(value)}")
            width = max(map(len, value), default=0)
            lines += [f"  {key:<{width}}  {count:,}" for key, count in value.items()]
        else:
            lines.append(f"{name}: {value:,}" if isinstance(value, int) else f"{name}: {value}")
    return "\n".join(lines)
