"""`gan-jax data`: prepares data sets, or describes one."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from tyro.conf import Positional, arg, subcommand

from gan_jax.cli.arguments import parse
from gan_jax.config import ConfigError
from gan_jax.files import claim_output


@dataclasses.dataclass(frozen=True)
class Info:
    """Describe a data set: its images, unreadable files with reasons, and what training does with it.

    --fit, --channels, --bad and --classes are those of `gan-jax train --data.fit ...`; --data.fit works, too.
    """

    # embedded:NAME, tfds:NAME[:SPLIT], folder:PATH, zip:PATH, npz:PATH or idx:PATH[:SPLIT]; of pairs pairs:INPUTS,IMAGES,
    # joined:PATH[:BtoA], unpaired:INPUTS,IMAGES or layouts:LABELS,IMAGES[,INSTANCES]
    spec: Annotated[Positional[str], arg(metavar="SPEC")]
    resolution: int | None = None  # height and width to read them in, px; None = unchanged
    fit: Literal["crop", "pad", "stretch"] = "crop"  # treatment of images that are not square
    channels: Literal[1, 3, 4] | None = None  # 1 grey, 3 RGB, 4 RGBA; None = unchanged
    bad: Literal["skip", "fail"] = "skip"  # unreadable files: listed and skipped, or an error that lists all
    classes: tuple[int | str, ...] | None = None  # only these, by name or label; None = all
    json: bool = False  # print JSON
    grid: Path | None = None  # also write the first 64 images (32 pairs) to this PNG, enlarged to at least 64 px each
    overwrite: bool = False  # replace the file of --grid

    examples: ClassVar[tuple[str, ...]] = (
        "gan-jax data info folder:photos",
        "gan-jax data info zip:photos.zip --grid first.png",
        "gan-jax data info pairs:sketches,photos --grid first.png",
    )


@dataclasses.dataclass(frozen=True)
class Prepare:
    """Turn images, or pairs of an input and an image, into a TFDS data set (array_record), which `tfds:FOLDER` reads.

    SPEC is the split "train"; several splits are named: train=folder:a test=folder:b. Pairs (pairs:, joined:, unpaired:,
    layouts:) are read back as they are, with names, classes and instances: gan-jax train tfds:FOLDER.
    """

    spec: Annotated[Positional[tuple[str, ...]], arg(metavar="SPEC")]  # what to read, as for `gan-jax data info`
    name: str  # name of the data set: small letters, digits and underscores
    out: Path  # folder of TFDS data sets; the set goes to OUT/NAME/VERSION
    version: str = "1.0.0"  # version of the data set
    resolution: int | None = None  # height and width to resize to, px; None = unchanged
    # how to make images square; None = crop if there is a resolution, else unchanged
    fit: Literal["crop", "pad", "stretch"] | None = None
    channels: Literal[1, 3, 4] | None = None  # 1 grey, 3 RGB, 4 RGBA; None = unchanged; of pairs those of the images
    bad: Literal["skip", "fail"] = "skip"  # unreadable files: listed and skipped, or an error that lists all
    crop: bool = False  # the same as --fit crop
    description: str = ""  # a sentence stored with the set
    overwrite: bool = False  # replace a set of the same name and version

    examples: ClassVar[tuple[str, ...]] = (
        "gan-jax data prepare folder:photos --name photos --out prepared --resolution 64",
        "gan-jax data prepare pairs:edges,photos --name shoes --out prepared --resolution 256",
    )


Command = Annotated[Info, subcommand("info")] | Annotated[Prepare, subcommand("prepare")]


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    # Also in the spelling of `train`.
    argv = [re.sub(r"^--data\.(?=(fit|channels|bad|classes)(=|$))", "--", word) for word in argv]
    command: Any = parse(Command, argv, verb="data")  # type: ignore[arg-type]
    return info(command) if isinstance(command, Info) else prepare(command)


def info(args: Info) -> int:
    """Prints a description of a data set."""
    from gan_jax.data import inspect_source, is_pair_spec, load

    if args.grid is not None:
        claim_output(args.grid, overwrite=args.overwrite, option="--grid")
    if is_pair_spec(args.spec):
        return info_of_pairs(args)
    options: dict[str, Any] = {"fit": args.fit, "bad": args.bad, "classes": args.classes}
    facts, images = inspect_source(args.spec, resolution=args.resolution, channels=args.channels, **options)
    print(json.dumps(facts, indent=2) if args.json else facts_text(facts))
    if args.grid is not None:
        from gan_jax.report.grids import make_grid, readable_scale, write_png

        if images is None:
            images = load(
                args.spec, resolution=args.resolution or 64, channels=args.channels or facts["channels"], **options
            )
        args.grid.parent.mkdir(parents=True, exist_ok=True)
        first = images.images[:64]
        print(f"wrote {write_png(args.grid, make_grid(first, scale=readable_scale(first)))}")
    return 0


def info_of_pairs(args: Info) -> int:
    """Prints a description of a set of pairs."""
    from gan_jax.data.pair_overview import inspect_pairs, preview

    if args.classes is not None:
        raise ConfigError(f"--classes chooses among images with labels; {args.spec} holds pairs, leave it out")
    facts, pairs = inspect_pairs(
        args.spec, resolution=args.resolution, channels=args.channels, fit=args.fit, bad=args.bad
    )
    print(json.dumps(facts, indent=2) if args.json else pairs_text(facts))
    if args.grid is not None:
        from gan_jax.report.grids import make_grid, readable_scale, write_png

        args.grid.parent.mkdir(parents=True, exist_ok=True)
        cells = preview(pairs)
        print(f"wrote {write_png(args.grid, make_grid(cells, columns=8, scale=readable_scale(cells)))}")
    return 0


def prepare(args: Prepare) -> int:
    """Writes a TFDS data set."""
    from gan_jax.data import prepare as write

    named = splits(args.spec)
    folder = write(
        named,
        args.out,
        args.name,
        version=args.version,
        resolution=args.resolution,
        channels=args.channels,
        fit=args.fit or "crop",
        bad=args.bad,
        crop=args.crop or args.fit is not None,
        description=args.description,
        overwrite=args.overwrite,
        note=print,
    )
    spec = f"tfds:{folder}" if "train" in named else f"tfds:{folder}:{next(iter(named))}"
    print(f"wrote {folder}: gan-jax data info {shlex.quote(spec)}")
    return 0


def splits(specs: Sequence[str]) -> dict[str, str]:
    """Parses `train=folder:a test=folder:b` into a mapping; a single spec without a name is the split train."""
    if len(specs) == 1 and not re.match(r"\w+=", specs[0]):
        return {"train": specs[0]}
    named = [spec.partition("=") for spec in specs]
    if not named or not all(re.fullmatch(r"\w+", name) and value for name, _, value in named):
        raise ConfigError(f"name every split: train={specs[0] if specs else 'SPEC'} test=SPEC")
    if len({name for name, _, _ in named}) < len(named):
        raise ConfigError("a split is named twice")
    return {name: value for name, _, value in named}


def facts_text(facts: dict[str, Any]) -> str:
    """Formats facts in lines; sizes, classes and files below their titles."""
    lines = [f"name: {facts['name']}", f"images: {facts['images']:,}"]
    lines += _sizes(facts)
    for title in ("modes", "kinds"):
        if facts[title]:
            lines.append(f"{title}: {_counts(facts[title])}")
    if facts["bits"] > 8:
        lines.append(f"bits a channel: up to {facts['bits']}")
    lines += _classes(facts["labels"])
    if facts["left_out"]:
        lines.append(f"files left out: {len(facts['left_out'])}")
        lines += [f"  {_printable(entry['file'])} {entry['reason']}" for entry in facts["left_out"]]
    if facts["other_files"]:
        lines.append(f"files that are no images: {_counts(facts['other_files'])}")
    lines += [f"note: {text}" for text in facts["notes"]]
    lines.append("what train and transfer do with them:")
    width = max(map(len, facts["use"]))
    lines += [f"  {name:<{width}}  {text}" for name, text in facts["use"].items()]
    if facts["fingerprint"] is None:
        lines.append("fingerprint: of images of one shape; --resolution and --channels bring them to one")
    else:
        lines += [f"mean: {facts['mean']}", f"fingerprint: {facts['fingerprint']}"]
    return "\n".join(lines)


def pairs_text(facts: dict[str, Any]) -> str:
    """Formats the facts of pairs in lines; classes and files below their titles."""
    lines = [f"name: {facts['name']}", f"kind: {facts['kind']}"]
    for title in ("inputs", "images"):
        side = facts[title]
        words = [f"{side['count']:,}", _common(side["sizes"])]
        words += [f"{side['channels']} channel(s)"] if side["channels"] else []
        words += [_counts(side["kinds"])] if side["kinds"] else []
        lines.append(f"{title}: {', '.join(words)}")
    if facts["kind"] == "layout":
        lines.append(f"instances: {'yes' if facts['instances'] else 'none'}")
        lines.append(f"classes: {facts['num_labels']} (label, name, share of the pixels, maps)")
        lines += _shares(facts["labels"])
        lines.append(f"don't care: {100 * facts['dont_care']:.1f} % of the pixels")
    if facts["left_out"]:
        lines.append(f"files left out, with their pairs: {len(facts['left_out'])}")
        lines += [f"  {entry['file']} {entry['reason']}" for entry in facts["left_out"]]
    lines += [f"note: {text}" for text in facts["notes"]]
    lines.append(f"use: {facts['use']}")
    lines.append(f"fingerprint: {facts['fingerprint'] or 'of rows of one shape; --resolution brings them to one'}")
    return "\n".join(lines)


def _common(sizes: dict[str, int]) -> str:
    """Formats a single size, or the most common ones (width x height)."""
    if len(sizes) == 1:
        return f"{next(iter(sizes))} px"
    return f"{len(sizes)} sizes, most common {', '.join(f'{size} ({n:,})' for size, n in list(sizes.items())[:3])} px"


def _shares(labels: list[dict[str, Any]]) -> list[str]:
    rows = [[str(e["label"]), _printable(e["name"]), f"{100 * e['share']:.2f} %", f"{e['maps']:,}"] for e in labels]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  " + "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def _sizes(facts: dict[str, Any]) -> list[str]:
    """Formats the common size of all images, or the range and the most common sizes (width x height)."""
    from gan_jax.data.convert import size_range

    sizes: Counter[tuple[int, int]] = Counter()
    for text, count in facts["sizes"].items():
        width, height = map(int, text.split(" x "))
        sizes[width, height] = count
    if len(sizes) == 1 and facts["height"] is None:
        (width, height), *_ = sizes
        return [f"height: {height}", f"width: {width}", f"channels: {facts['channels']}"]
    lines = []
    if len(sizes) > 1:
        common = [f"{w} x {h} ({n:,})" for (w, h), n in list(sizes.items())[:3]]
        lines.append(f"sizes: {size_range(sizes)}; most common {', '.join(common)}")
    if facts["height"] is not None:
        lines += [f"height: {facts['height']}", f"width: {facts['width']}"]
    return [*lines, f"channels: {facts['channels']}"]


def _classes(labels: list[dict[str, Any]]) -> list[str]:
    """Formats a line for every class: label, name if it differs from the label, images."""
    if not labels:
        return ["classes: none"]
    named = any(entry["name"] != str(entry["label"]) for entry in labels)
    rows = [[str(e["label"]), *([_printable(e["name"])] if named else []), f"{e['images']:,}"] for e in labels]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        f"classes: {len(labels)}" + (" (label, name, images)" if named else ""),
        *("  " + "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows),
    ]


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _printable(name: str) -> str:
    from gan_jax.data.files import printable

    return printable(name)
