"""`gan-jax sample`: images from trained weights, as a grid, single files or arrays."""

from __future__ import annotations

import dataclasses
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from tyro.conf import Positional, arg

from gan_jax.cli.arguments import parse
from gan_jax.config import ConfigError
from gan_jax.files import claim_output, printable
from gan_jax.seeds import check_seed
from gan_jax.trees import did_you_mean


@dataclasses.dataclass(frozen=True)
class Sample:
    """Draw images from a run, a checkpoint of one, a weights folder or an embedded pair.

    For a run that has not finished, the newest checkpoint is used, and a message says so. Existing files are never replaced
    or mixed with new ones without --overwrite.
    """

    path: Annotated[Positional[str], arg(metavar="PATH")]  # run, checkpoint or weights folder, or embedded:NAME
    n: int = 64  # number of images
    seed: int = 0  # seed of the latents; equal seeds give equal images
    # classes of a conditional generator, by number or name, used in turn; None = all in turn
    labels: tuple[str, ...] | None = None
    # less variety and better images: StyleGAN2's psi; for other networks the threshold above which latents are redrawn
    truncation: float | None = None
    checkpoint: int | None = None  # checkpoint of a run, by its number of images
    # NAME.png (.jpg, .webp, .bmp) = one grid; NAME.npz = arrays `images` [n, H, W, C] uint8, with classes also `labels` and
    # `class_names`; a folder = one PNG each, 00012_boot.png
    out: Path = Path("samples.png")
    # integer factor by which pixels are enlarged; None = images of a grid to at least 64 px, single files not
    scale: int | None = None
    cols: int | None = None  # images in a row of the grid; None = as square as possible
    overwrite: bool = False  # replace what is at --out

    examples: ClassVar[tuple[str, ...]] = (
        "gan-jax sample run --n 64 --out grid.png",
        "gan-jax sample run --labels boot coat --out pictures",
    )


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    args = parse(Sample, argv, verb="sample")
    check_seed(args.seed, "--seed")
    if args.n < 1:
        raise ConfigError(f"--n is {args.n}; use at least 1")
    if args.truncation is not None and not 0 < args.truncation < math.inf:
        raise ConfigError(f"--truncation is {args.truncation:g}; use a number above 0 (0.5 is usual)")
    kind = form(args.out)
    for name, value in (("scale", args.scale), ("cols", args.cols)):
        if value is not None and value < 1:
            raise ConfigError(f"--{name} is {value}; use at least 1")
    if args.cols is not None and kind != "grid":
        raise ConfigError(
            f"--cols lays a grid out, but --out {args.out} is no picture; use NAME.png, or leave --cols out"
        )
    if (args.scale or 1) > 1 and kind == "arrays":
        raise ConfigError(f"--scale enlarges pictures, but --out {args.out} holds arrays; leave --scale out")
    old = claim_output(args.out, overwrite=args.overwrite, ours=("[0-9]*.png",) if kind == "files" else None)
    import numpy as np

    from gan_jax.transfer.models import class_names, load, unfinished

    if (message := unfinished(args.path, args.checkpoint)) is not None:
        print(printable(f"gan-jax sample: {message}"), file=sys.stderr)
    model = load(args.path, args.checkpoint)
    names = class_names(model)
    count = model.config.num_classes
    if args.labels is not None and not count:
        raise ConfigError(f"--labels was given, but the generator of {args.path} has no classes; leave it out")
    classes = range(count) if args.labels is None else [label_of(word, names, count) for word in args.labels]
    if args.labels is not None and not classes:
        raise ConfigError("--labels is empty; name some classes, or leave it out for all")
    labels = np.resize(np.asarray(classes, np.int32), args.n) if count else None
    images = np.asarray(model.sample(args.seed, args.n, labels=labels, truncation=args.truncation))
    write(args.out, images, labels, names, scale=args.scale, columns=args.cols, old=old)
    print(f"wrote {args.out}")
    return 0


def form(out: Path) -> str:
    """Returns the form of an output path by its ending: `grid`, `arrays` or `files`."""
    ending = out.suffix.lower()
    if ending in GRIDS:
        return "grid"
    if ending in ("", ".npz"):
        return "arrays" if ending else "files"
    raise ConfigError(f"--out {out} has an unknown ending; use {', '.join(GRIDS)}, .npz or none (a folder)")


def label_of(word: str, names: Sequence[str] | None, count: int) -> int:
    """Returns the label of a class by name, or by number if no class has that name.

    Raises:
      ConfigError: there is no such class; with the closest name.
    """
    if names is not None and word in names:
        return list(names).index(word)
    if word.isdecimal() and int(word) < count:
        return int(word)
    valid = f"0 to {count - 1}" + (f", or {', '.join(names[:20])}{', ..' if len(names) > 20 else ''}" if names else "")
    raise ConfigError(f"--labels {word!r} is no class of this generator{did_you_mean(word, names or ())}; use {valid}")


def write(
    out: Path,
    images: Any,
    labels: Any,
    names: Sequence[str] | None = None,
    *,
    scale: int | None = None,
    columns: int | None = None,
    old: Sequence[Path] = (),
) -> None:
    """Writes images in the form of the path's ending.

    Args:
      out: file or folder.
      images: `[n, H, W, C]` uint8.
      labels: `[n]`, or None.
      names: names of the classes, by label.
      scale: integer factor to enlarge by; None = images of a grid to at least 64 px, single files not.
      columns: images in a row of a grid.
      old: earlier samples in the folder, which are removed.
    """
    import numpy as np

    from gan_jax.files import replace
    from gan_jax.report.grids import enlarge, make_grid, readable_scale, write_png

    out.parent.mkdir(parents=True, exist_ok=True)
    kind = form(out)
    if kind == "grid":
        factor = readable_scale(images) if scale is None else scale
        grid, format_ = make_grid(images, columns, factor), GRIDS[out.suffix.lower()]
        write_png(out, grid) if format_ == "PNG" else replace(out, lambda part: _picture(part, grid, format_))
    elif kind == "arrays":
        arrays = {"images": images} if labels is None else {"images": images, "labels": labels}
        arrays |= {} if labels is None or names is None else {"class_names": np.array(names)}

        def put(part: Path) -> None:
            with open(part, "wb") as file:  # NumPy adds .npz to a name
                np.savez_compressed(file, **arrays)

        replace(out, put)
    else:
        out.mkdir(parents=True, exist_ok=True)
        for path in old:
            path.unlink()
        for i, image in enumerate(images):
            enlarged = enlarge(image[None], image.shape[0] * scale)[0] if scale is not None and scale > 1 else image
            write_png(out / f"{i:05d}{_suffix(labels, names, i)}.png", enlarged)


def _picture(path: Path, grid: Any, kind: str) -> None:
    from PIL import Image

    from gan_jax.report.grids import to_rgb

    if grid.shape[-1] == 4 and kind != "WEBP":
        grid = to_rgb(grid[None])[0]  # without alpha, on white
    image = Image.fromarray(grid[..., 0] if grid.shape[-1] == 1 else grid)
    image.save(path, kind, **({} if kind == "BMP" else {"quality": 95}))


def _suffix(labels: Any, names: Sequence[str] | None, i: int) -> str:
    """Returns the name's suffix of image i, such as `_boot`: its class in characters of any file system."""
    if labels is None:
        return ""
    label = int(labels[i])
    name = "" if names is None else re.sub(r"[^\w.-]+", "-", names[label]).strip("-.")[:60]
    return f"_{name or label}"


GRIDS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP"}  # ending -> Pillow's format
