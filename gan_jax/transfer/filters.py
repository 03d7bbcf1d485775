"""Filters of a network, in groups whose importance is compared. A filter computes one output channel.

Kernels have the axes `[.., in, out]` in every family; the last axis is that of filters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.nets import Pair
from gan_jax.train.regularisers import Network
from gan_jax.trees import flatten, match

LABELS = ("mapping/**", "embed/**", "shared/**")  # G's modules from latents and labels to styles
STYLES = ("**/affine/kernel", "**/norm*/gain/kernel", "**/norm*/bias/kernel")  # dense layers that scale channels
Groups = Mapping[str, Sequence[str]]  # name -> paths of kernels
PerFilter = dict[str, Any]  # path of a kernel -> [out]


def covered(patterns: Sequence[str], path: str) -> bool:
    """Whether any of the patterns covers a path."""
    return any(match(pattern, path) for pattern in patterns)


def in_head(pair: Pair, path: str) -> bool:
    """Whether a leaf of D's params belongs to its head."""
    return covered([f"{name}/**" for name in pair.d_head], path)


def filter_groups(pair: Pair, network: Network, leave: Sequence[str] = ()) -> dict[str, list[str]]:
    """The kernels of a plain network, in groups whose filters are compared: `convolutions`, `styles` and `dense`.

    D's head and G's mapping network are left out.

    Args:
      pair: of the network.
      network: `g` or `d`.
      leave: patterns of further kernels that are left out.
    """
    out = [*(f"{name}/**" for name in pair.d_head), *leave] if network == "d" else [*LABELS, *leave]
    params = (pair.d if network == "d" else pair.g).specs()["params"]
    groups: dict[str, list[str]] = {}
    for path, leaf in flatten(params).items():
        if match("**/kernel", path) and not covered(out, path):
            kind = "styles" if covered(STYLES, path) else "convolutions" if len(leaf.shape) == 4 else "dense"
            groups.setdefault(kind, []).append(path)
    return groups


def bias_of(path: str, leaves: Mapping[str, Any]) -> str | None:
    """The path of a dense layer's bias, which is part of its filters; None for a convolution's, which is not."""
    bias = f"{path.removesuffix('kernel')}bias"
    return bias if len(leaves[path].shape) == 2 and bias in leaves else None


def lowest(importance: PerFilter, groups: Groups, percent: float) -> PerFilter:
    """Masks, bool `[out]` for each kernel, of the least important `percent` of the filters of a group.

    The number is rounded down, so it may be 0 in a small group; filters that tie with the last one are included.

    Args:
      importance: of every kernel in the groups.
      groups: kernels by group; each group has its own quantile.
      percent: 0 .. 100.
    """
    masks = {}
    for paths in groups.values():
        values = jnp.sort(jnp.concatenate([importance[path] for path in paths]))
        count = min(math.floor(len(values) * percent / 100 + 1e-9), len(values))
        limit = values[count - 1] if count else -jnp.inf
        masks |= {path: importance[path] <= limit for path in paths}
    return masks


def moment_of(path: str) -> str | None:
    """The leaf whose moment is at a path of Adam's state, `0/mu/b4/conv/kernel`; None where the path is no moment's."""
    names = path.split("/")
    at = next((i for i, name in enumerate(names) if name in ("mu", "nu")), None)
    return None if at is None else "/".join(names[at + 1 :])


def choose(mask: Any, yes: jax.Array, no: jax.Array) -> jax.Array:
    """Takes `yes` where `mask [out]` is true along the last axis, and `no` elsewhere."""
    return jnp.where(mask.reshape((1,) * (yes.ndim - 1) + (-1,)), yes, no)
