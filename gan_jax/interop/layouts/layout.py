"""Layouts of foreign checkpoints: they find a pair in a file's tensors, and name a pair's leaves for a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from gan_jax.config import NetConfig
from gan_jax.interop.foreign import Recorded
from gan_jax.interop.links import ForeignLayoutError, Links
from gan_jax.nets import Net

Tensors = Mapping[str, np.ndarray]
DROPPED = "another copy of the generator; the moving average is what is kept"


class Part(NamedTuple):
    """One network of a file: the prefix of its names there, its tensors without it, and what they become."""

    prefix: str
    tensors: Tensors
    links: Links


@dataclasses.dataclass(frozen=True)
class ForeignPair:
    """A pair in a file's tensors.

    Attributes:
      config: of the networks.
      parts: our root (`g_ema`, `d`) -> its part of the file.
      ignored: ends of names that a part may have besides -> why they are left out.
      left_out: whole names outside all parts -> why they are left out.
      computed: root/leaf that the file lacks -> how it is computed.
      nets: root -> network, of parts that are neither G nor D.
    """

    config: NetConfig
    parts: Mapping[str, Part]
    ignored: Mapping[str, str]
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)
    computed: Mapping[str, ComputedLeaf] = dataclasses.field(default_factory=dict)
    nets: Mapping[str, Net] = dataclasses.field(default_factory=dict)


class ComputedLeaf(NamedTuple):
    """A leaf that is not in the file: what it is computed from in words, and `(config, variables of its network) -> leaf`.

    The function gets zeros in the leaf's own place.
    """

    words: str
    make: Callable[[Any, Any], np.ndarray]


class FileContext(NamedTuple):
    """What a file holds besides its tensors, and what the user says of it.

    Attributes:
      values: numbers and strings by dotted names.
      stubs: what objects of the file were made with, by dotted names.
      net: the networks' configuration, where the user names it.
    """

    values: Mapping[str, Any]
    stubs: Mapping[str, Recorded]
    net: NetConfig | None = None


NO_CONTEXT = FileContext({}, {})


@dataclasses.dataclass(frozen=True)
class ForeignLayout:
    """One way in which others store a pair.

    Attributes:
      config: the networks that it is a layout of.
      find: the pair in a file's tensors; raises `ForeignLayoutError` where it is of another layout.
      names: our root -> (its prefix in a file, links), what a pair of this configuration is written as.
      constants: whole name -> tensor that their program also needs: filters, counters.
      keys: of a torch file's dict under which networks lie, besides the prefixes in `names`.
      counted: roots of `names` whose number of layers no configuration has; names of layers that are absent are not written.
      find_in_context: `find` where what the file holds besides tensors matters; None = it does not.
      beside: (configuration, our root) -> the JSON files that lie beside the weights of a network, by name; it is then
        written as a folder with these, one for each network. None = files alone.
    """

    config: type | tuple[type, ...]
    find: Callable[[Tensors], ForeignPair]
    names: Callable[[Any], dict[str, tuple[str, Links]]]
    constants: Callable[[Any], dict[str, np.ndarray]] = lambda config: {}
    keys: tuple[str, ...] = ()
    counted: tuple[str, ...] = ()
    find_in_context: Callable[[Tensors, FileContext], ForeignPair] | None = None
    beside: Callable[[Any, str], dict[str, dict[str, Any]]] | None = None


def under(tensors: Tensors, prefix: str) -> dict[str, np.ndarray]:
    """The tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}


def prefixes(tensors: Tensors, mark: str) -> list[str]:
    """The prefixes of a name that only one kind of network has: one for each such network, in the file's order."""
    ends = lambda name: name == mark or name.endswith("." + mark)
    return [name.removesuffix(mark) for name in tensors if ends(name)]


def kept_generator(candidates: list[str]) -> tuple[str | None, list[str]]:
    """Of the generators' prefixes in a file the one that is kept, which is the moving average, and the others."""
    kept = next((prefix for prefix in candidates if "ema" in prefix.lower()), candidates[0] if candidates else None)
    return kept, [prefix for prefix in candidates if prefix != kept]


# ----------------------------------------------------------------------------------------------------------------------
# Kernels under PyTorch's spectral norm, for networks of ours that have none: divided by their singular value once.

VECTOR = "a vector of spectral norm; its kernel is divided by the singular value that it gives, as in evaluation"


def plain_kernels(tensors: Tensors) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors with `weight_orig`, `weight_u`, `weight_v` as the kernel that evaluation computes with, `weight_orig`.

    Returns:
      `(tensors, {name of a vector: why it is left out})`; kernels keep their names and places.

    Raises:
      ForeignLayoutError: vectors of other sizes than the kernel's.
    """
    kernels, left_out = dict(tensors), {}
    for name in tensors:
        base = name.removesuffix("_orig")
        if base == name or f"{base}_u" not in tensors or f"{base}_v" not in tensors:
            continue
        kernel, u, v = (tensors[n].astype(np.float64) for n in (name, f"{base}_u", f"{base}_v"))
        sizes = []
        for axis in (0, 1)[: kernel.ndim]:  # a transposed convolution's outputs are its second axis
            matrix = np.moveaxis(kernel, axis, 0).reshape(kernel.shape[axis], -1)
            if matrix.shape == (u.size, v.size):
                sizes.append(float(u @ matrix @ v))
        size = max(sizes, key=abs, default=0.0)  # of vectors that no step has turned yet it may be negative, there too
        if not size:
            raise ForeignLayoutError(f"{base + '_u'!r} and {base + '_v'!r} are no singular vectors of {name!r}")
        kernels[name] = (kernel / size).astype(tensors[name].dtype)
        left_out |= dict.fromkeys((f"{base}_u", f"{base}_v"), VECTOR)
    return {name: array for name, array in kernels.items() if name not in left_out}, left_out


def plain_name(name: str) -> str:
    """`0.weight` of `0.weight_orig`."""
    return name.removesuffix("_orig") if name.endswith("weight_orig") else name
