"""`gan-jax sample`: images from trained weights, as a grid, single files or arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from gan_jax.cli.arguments import parse
from gan_jax.config import ConfigError
from gan_jax.seeds import check_seed, root_key


@dataclasses.dataclass(frozen=True)
class Sample:
    """Draw images from a run, a weights folder or an embedded pair."""

    path: Annotated[Positional[str], arg(metavar="PATH")]  # run folder, weights folder or embedded:NAME
    n: int = 64  # how many images
    seed: int = 0  # of the latents; equal seeds, equal images
    labels: tuple[int, ...] | None = None  # classes of a conditional generator, dealt out in turn; None = all in turn
    # fewer kinds of images, and better ones: StyleGAN2's psi; of others the threshold beyond which latents are drawn again
    truncation: float | None = None
    # NAME.png = one grid; NAME.npz = array `images` [n, H, W, C] uint8 and `labels`; a folder = one PNG each
    out: Path = Path("samples.png")


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    args = parse(Sample, argv, verb="sample")
    check_seed(args.seed, "--seed")
    if args.n < 1:
        raise ConfigError(f"--n is {args.n}; use at least 1")
    if args.truncation is not None and args.truncation <= 0:
        raise ConfigError(f"--truncation is {args.truncation:g}; use a number above 0 (0.5 is usual)")
    if args.out.suffix not in ("", ".png", ".npz"):
        raise ConfigError(f"--out {args.out} has an unknown ending; use .png, .npz or none (a folder)")
    import numpy as np

    import gan_jax

    model = gan_jax.load(args.path)
    labels = None if args.labels is None else np.resize(np.asarray(args.labels, np.int32), args.n)
    images = np.asarray(model.sample(root_key(args.seed), args.n, labels=labels, truncation=args.truncation))
    print(f"wrote {write(args.out, images, labels)}")
    return 0


def write(out: Path, images: Any, labels: Any) -> Path:
    """Writes images `[n, H, W, C]` uint8 in the form that the ending asks for; returns the path."""
    import numpy as np

    from gan_jax.report.grids import make_grid, write_png

    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".png":
        write_png(out, make_grid(images))
    elif out.suffix == ".npz":
        np.savez_compressed(out, images=images, **({} if labels is None else {"labels": labels}))
    else:
        out.mkdir(exist_ok=True)
        for i, image in enumerate(images):
            write_png(out / f"{i:05d}.png", image)
    return out
