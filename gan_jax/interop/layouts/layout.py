"""What a layout of foreign checkpoints is: finding a pair in a file's tensors, and naming a pair's leaves for one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from gan_jax.config import NetConfig
from gan_jax.interop.links import Links

Tensors = Mapping[str, np.ndarray]
DROPPED = "another copy of the generator; the moving average is what is kept"


class Part(NamedTuple):
    """One network of a file: the prefix of its names there, its tensors without it, and what they become."""

    prefix: str
    tensors: Tensors
    links: Links


@dataclasses.dataclass(frozen=True)
class Found:
    """A pair in a file's tensors.

    Attributes:
      config: of the networks.
      parts: our root (`g_ema`, `d`) -> its part of the file.
      ignored: ends of names that a part may have besides -> why they are left out.
      left: whole names outside all parts -> why they are left out.
    """

    config: NetConfig
    parts: Mapping[str, Part]
    ignored: Mapping[str, str]
    left: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class ForeignLayout:
    """One way in which others store a pair.

    Attributes:
      config: the networks that it is a layout of.
      find: the pair in a file's tensors; raises `ForeignLayoutError` where it is of another layout.
      names: our root -> (its prefix in a file, links), what a pair of this configuration is written as. None of the
        tensors that `Found.ignored` speaks of are written.
    """

    config: type
    find: Callable[[Tensors], Found]
    names: Callable[[Any], dict[str, tuple[str, Links]]]


def under(tensors: Tensors, prefix: str) -> dict[str, np.ndarray]:
    """The tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}


def nvidia_layout(
    config: type,
    guess: Callable[[Tensors, Tensors | None], NetConfig],
    g_links: Callable[[Any], Links],
    d_links: Callable[[Any], Links],
    ignored: Mapping[str, str],
) -> ForeignLayout:
    """The layout of files that hold `G_ema` (or `G`) and `D`, as those of NVIDIA's repositories and of their heirs do."""

    def find(tensors: Tensors) -> Found:
        kept = "G_ema." if any(name.startswith("G_ema.") for name in tensors) else "G."
        g, d = under(tensors, kept), under(tensors, "D.")
        found = guess(g, d or None)
        parts = {"g_ema": Part(kept, g, g_links(found))} | ({"d": Part("D.", d, d_links(found))} if d else {})
        left = {name: DROPPED for name in tensors if name.startswith("G.") and kept != "G."}
        return Found(found, parts, ignored, left)

    return ForeignLayout(config, find, lambda pair: {"g_ema": ("G_ema.", g_links(pair)), "d": ("D.", d_links(pair))})
