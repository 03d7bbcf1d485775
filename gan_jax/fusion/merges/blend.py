"""Layer swapping (Pinkney & Adler, 2020): low resolutions from one network, high ones from a related one.

Layers are placed by their position, which grows towards the image: two for every resolution, the first one at 4 px being
0. Blocks are named by resolution, so the position is read from the paths; fully connected layers are counted instead.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import jax

from gan_jax.fusion.merges.leaves import MergeError, each_leaf, weighted_sum
from gan_jax.reserved import GRAFT
from gan_jax.trees import Tree, flatten

COLLECTIONS = ("params", "batch_stats", "moving", "spectral", "constants")
LATENT = ("mapping", "embed", "shared", GRAFT)  # layers that make or read codes; they have no position in the image
# Layers at the second level of a block. G is ordered from the latents and D from the image, so their names mirror.
SECOND = {"g": r"conv1|norm1|to_rgb|attention|more\d+|res[1-9]\d*", "d": r"conv0|conv|from_rgb|more\d+|res0"}


def position(resolution: float, level: int = 0) -> float:
    """Computes the position of a layer at a resolution in px; `level` 1 is the half of the block nearer to the image."""
    return 2 * math.log2(resolution / 4) + level


def positions(paths: Iterable[str]) -> dict[str, float | None]:
    """Returns the position of every leaf of a generator or a discriminator; None for mapping networks and embeddings.

    Layers before the lowest block are one position below it, those after the highest are at its second level.

    Args:
      paths: paths of all leaves, `params/b8/conv0/kernel` or `b8/conv0/kernel`.

    Raises:
      MergeError: a path that belongs to no family.
    """
    short = {path: _relative(path) for path in paths}
    names = {path: tail.split("/") for path, tail in short.items()}
    heads = {parts[0] for parts in names.values()}
    network = (
        "d"
        if {"from_rgb", "head"} & heads or any("from_rgb" in parts or "out" in parts for parts in names.values())
        else "g"
    )
    sizes = [size for parts in names.values() if (size := _resolution(parts[0]))]
    if sizes:
        low, high = position(min(sizes)), position(max(sizes), 1)
        ends = {"stem": low - 1, "head": low - 1, "to_rgb": high, "to_rgb_norm": high, "from_rgb": high}
    else:
        layers = {name for name in heads if re.fullmatch(r"fc\d+", name)}

        def index(name: str) -> float:
            return float(name[2:]) if network == "g" else float(len(layers) - 1 - int(name[2:]))

        ends = {**{name: index(name) for name in layers}, "to_rgb": float(len(layers)), "head": -1.0}
    return {path: _place(path, parts, network, ends) for path, parts in names.items()}


def blend(donors: Sequence[Tree], *, mid: float, width: float | None = None) -> Tree:
    """Computes `(1 - y) first + y second`, where y grows with a layer's position.

    Without a width `y = 1` from the second position after `mid` on, else 0, as in the published code. With a width, y is the
    sigmoid of `(position - mid) / width`. Mapping networks and embeddings are the first donor's.

    Args:
      donors: two networks of one family: trees of parameters, of another collection, or full variables.
      mid: position of the transition, `position(resolution, level)`.
      width: width of the transition in positions; None = a hard transition.

    Raises:
      MergeError: not two donors, a width that is not above zero, or a leaf without a position.
    """
    if len(donors) != 2:
        raise MergeError(f"layers are swapped between two donors, but there are {len(donors)}")
    if width is not None and not width > 0:
        raise MergeError(f"width is {width:g}; it must be above zero, or None for a hard transition")
    shares = {path: _share(p, mid, width) for path, p in positions(flatten(donors[0])).items()}

    def mix(path: str, xs: list[jax.Array], _: Any) -> jax.Array:
        y = shares[path]
        return xs[int(y)] if y in (0.0, 1.0) else weighted_sum([1 - y, y], xs)

    return each_leaf(mix, donors)


def _share(at: float | None, mid: float, width: float | None) -> float:
    """Computes the second donor's mixing weight y at a position."""
    if at is None:
        return 0.0
    if width is None:
        return 1.0 if at - mid > 1 else 0.0
    return 0.5 * (1 + math.tanh((at - mid) / width / 2))  # a sigmoid that does not overflow


def _relative(path: str) -> str:
    """Removes the collection and StyleGAN2's synthesis network from the start of a path."""
    first, _, rest = path.partition("/")
    return (rest if first in COLLECTIONS else path).removeprefix("synthesis/")


def _resolution(name: str) -> int | None:
    """Reads the resolution from a path's first name: `b16`, DCGAN's `norm16`, or `b4_more0` of blocks after the last size."""
    match = re.fullmatch(r"(?:b|norm)(\d+)(?:_more\d+)?", name)
    return int(match[1]) if match else None


def _place(path: str, parts: Sequence[str], network: str, ends: dict[str, float]) -> float | None:
    """Returns the position of a leaf, of its path's parts; None for latent layers."""
    if parts[0] in LATENT:
        return None
    if parts[0] in ends:
        return ends[parts[0]]
    size = _resolution(parts[0])
    if size is None:
        raise MergeError(
            f"leaf {path!r} has no place in the order of layers; known are blocks b4, b8, .., fc0, fc1, .., "
            f"{', '.join(sorted(ends))}, and {', '.join(LATENT)}, which stay the first donor's"
        )
    second = "_more" not in parts[0] and re.fullmatch(SECOND[network], parts[1]) is not None
    return position(size, int(second))
