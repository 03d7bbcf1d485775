"""Specs of pairs, as text.

| spec | what is read |
|---|---|
| `pairs:INPUTS,IMAGES` | two folders, zips or npz files; two files are a pair where their paths without ending are equal |
| `joined:PATH[:BtoA]` | a folder or zip of pictures with the input left and the image right; `:BtoA` = the other way round |
| `unpaired:INPUTS,IMAGES` | two folders, zips or npz files that have nothing to do with each other |
| `layouts:LABELS,IMAGES[,INSTANCES]` | label maps, their images and, where there, numbers of the things in them |
| `npz:PATH` | arrays `inputs` and `images`; inputs `[N, H, W]` are label maps |
| `tfds:NAME[:SPLIT][@INPUT,IMAGE]` | a prepared TFDS data set with two features of images |

Label maps are PNG of a palette or grey, whose numbers are classes, 255 = don't care. `classes.txt` or `classes.json` beside
them names the classes. A path may hold commas where only one way of cutting the spec gives paths that exist. The rows of an
npz have names where it has an array `names`; sides without names are matched by position.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import NamedTuple

from gan_jax.data.images import DataError
from gan_jax.data.sources import existing
from gan_jax.trees import did_you_mean

PAIR_KINDS = ("pairs", "joined", "unpaired", "layouts", "npz", "tfds")
_PATHS = {"pairs": (2, 2), "unpaired": (2, 2), "layouts": (2, 3), "joined": (1, 1), "npz": (1, 1)}  # least, most
DIRECTIONS = ("AtoB", "BtoA")


class PairSpec(NamedTuple):
    """A spec in its parts: `joined:x:BtoA` is ("joined", ("x",), "BtoA")."""

    kind: str
    paths: tuple[str, ...]  # of tfds: the name, as it stands
    option: str = ""

    def text(self) -> str:
        """The spec again."""
        return f"{self.kind}:{','.join(self.paths)}" + (f":{self.option}" if self.option else "")


def split_pair_spec(spec: str) -> PairSpec:
    """Cuts a spec into its kind and paths.

    Raises:
      DataError: an unknown kind, an absent path, or commas that can be read in several ways.
    """
    kind, colon, rest = spec.partition(":")
    if not colon or kind not in PAIR_KINDS:
        known = ", ".join(f"{name}:..." for name in PAIR_KINDS)
        raise DataError(f"unknown source of pairs {spec!r}{did_you_mean(kind, PAIR_KINDS)}; it is one of {known}")
    if not rest:
        raise DataError(f"{spec!r} names nothing after the colon")
    if kind == "tfds":
        return PairSpec(kind, (rest,))
    option = ""
    if kind == "joined" and not Path(rest).expanduser().exists():
        head, colon, tail = rest.rpartition(":")
        if colon and tail in DIRECTIONS:
            rest, option = head, tail
        elif colon and tail.lower() in ("atob", "btoa", "a2b", "b2a"):
            raise DataError(f"{spec!r} ends in {tail!r}; the direction is {' or '.join(DIRECTIONS)}")
    least, most = _PATHS[kind]
    return PairSpec(kind, tuple(_cut(spec, rest, least, most)) if most > 1 else (rest,), option)


def _cut(spec: str, rest: str, least: int, most: int) -> list[str]:
    """The paths between commas, where a path may hold commas itself."""
    parts = rest.split(",")
    there = lambda path: bool(path) and Path(path).expanduser().exists()
    ways = []
    for cuts in range(least - 1, most):
        for places in itertools.combinations(range(1, len(parts)), cuts) if len(parts) < 20 else ():
            ends = (0, *places, len(parts))
            ways.append([",".join(parts[i:j]) for i, j in itertools.pairwise(ends)])
    existing_ways = [way for way in ways if all(map(there, way))]
    if len(existing_ways) == 1:
        return existing_ways[0]
    if existing_ways:
        readings = " or ".join(" and ".join(map(repr, way)) for way in existing_ways[:3])
        raise DataError(f"{spec!r} can be read as {readings}; rename a folder so that its name has no comma")
    amount = f"{least} paths" if least == most else f"{least} or {most} paths"
    if not least <= len(parts) <= most:
        raise DataError(f"{spec!r} must name {amount} with commas between; no way of cutting it gives paths that exist")
    if "" in parts:
        raise DataError(f"{spec!r} must name {amount} with commas between; one of them is empty")
    for path in parts:
        if not there(path):
            existing(path, "folder")
    raise AssertionError("a path is absent")
