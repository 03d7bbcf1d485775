"""Filters of a network, in the groups whose importance is compared: a filter is what makes one output channel.

Kernels lead with what they read and end with their filters, `[.., in, out]`, in every family.
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

LABELS = ("mapping/**", "embed/**", "shared/**")  # G's ways from latents and labels to styles
STYLES = ("**/affine/kernel", "**/norm*/gain/kernel", "**/norm*/bias/kernel")  # dense layers that scale channels
Groups = Mapping[str, Sequence[str]]  # name -> paths of kernels
PerFilter = dict[str, Any]  # path of a kernel -> [out]


def covered(patterns: Sequence[str], path: str) -> bool:
    """Whether one of the patterns covers a path."""
    return any(match(pattern, path) for pattern in patterns)


def in_head(pair: Pair, path: str) -> bool:
    """Whether a leaf of D's params belongs to its head."""
    return covered([f"{name}/**" for name in pair.d_head], path)


def filter_groups(pair: Pair, network: Network, leave: Sequence[str] = ()) -> dict[str, list[str]]:
    """The kernels of a plain network whose filters are compared with each other: `convolutions`, `styles` and `dense`.

    Neither D's head nor G's mapping network is among them.

    Args:
      pair: of the network.
      network: which of the two.
      leave: patterns of further kernels to leave out.
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
    """The bias of a dense layer, which is part of its filters; that of a convolution is not."""
    bias = f"{path.removesuffix('kernel')}bias"
    return bias if len(leaves[path].shape) == 2 and bias in leaves else None


def lowest(importance: PerFilter, groups: Groups, percent: float) -> PerFilter:
    """Bool `[out]` for each kernel: which filters are among the least important `percent` of their group.

    Rounded down to whole filters, so that a small share of a small group is none; equals of the last one are too.

    Args:
      importance: of every kernel in the groups.
      groups: each with a quantile of its own.
      percent: 0 .. 100.
    """
    found = {}
    for paths in groups.values():
        values = jnp.sort(jnp.concatenate([importance[path] for path in paths]))
        count = min(math.floor(len(values) * percent / 100 + 1e-9), len(values))
        limit = values[count - 1] if count else -jnp.inf
        found |= {path: importance[path] <= limit for path in paths}
    return found


def moment_of(path: str) -> str | None:
    """The leaf whose moment lies at a path of Adam's state, `0/mu/b4/conv/kernel`; None for what is no moment."""
    names = path.split("/")
    at = next((i for i, name in enumerate(names) if name in ("mu", "nu")), None)
    return None if at is None else "/".join(names[at + 1 :])


def choose(mask: Any, yes: jax.Array, no: jax.Array) -> jax.Array:
    """One array where `mask [out]` says so along the last axis, the other elsewhere."""
    return jnp.where(mask.reshape((1,) * (yes.ndim - 1) + (-1,)), yes, no)
