"""Checks of orders and factors against the numbers of channels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from gan_jax.surgery.families.layout import Layout
from gan_jax.trees import Flat, Tree, TreeError, did_you_mean, flatten

Orders = Mapping[str, Any]  # group -> [n] int: channel i of the result is channel order[i]
Factors = Mapping[str, Any]  # free scale -> [n] float > 0


class AlignError(TreeError):
    """Networks, orders or factors that do not fit; the message names the group, what it has and what would fit."""


def check_orders(layout: Layout, flat: Flat, orders: Orders) -> dict[str, np.ndarray]:
    """The orders as int32 arrays, or an error that names the first that does not fit."""
    sizes = sizes_of(layout, flat)
    out = {}
    for group, order in orders.items():
        if group not in sizes:
            raise AlignError(f"no channel group {group!r}{did_you_mean(group, sizes)}; there are {', '.join(sizes)}")
        index, n = np.asarray(order), sizes[group]
        if index.shape != (n,):
            raise AlignError(f"the order of {group!r} has shape {list(index.shape)}, but there are {n} channels: [{n}]")
        if not np.issubdtype(index.dtype, np.integer) or not np.array_equal(np.sort(index), np.arange(n)):
            raise AlignError(f"the order of {group!r} is no permutation: it must hold each of 0 to {n - 1} once")
        out[group] = index.astype(np.int32)
    return out


def sizes_of(layout: Layout, flat: Flat) -> dict[str, int]:
    """Channels in each group of these leaves."""
    return layout.sizes({path: tuple(leaf.shape) for path, leaf in flat.items()})


def scale_sizes(layout: Layout, flat: Flat) -> dict[str, int]:
    """Channels that take part in each scale of these leaves."""
    sizes: dict[str, int] = {}
    for path, x in flat.items():
        view = layout.leaf(path).view(tuple(x.shape))
        sizes |= {use.scale: math.prod(view[i] for i in use.axes) for use in layout.uses(path)}
    return sizes


def check_factors(layout: Layout, flat: Flat, factors: Factors) -> dict[str, np.ndarray]:
    """The factors as float64 arrays, or an error that names the first that does not fit."""
    sizes = scale_sizes(layout, flat)
    out = {}
    for scale, values in factors.items():
        if scale not in sizes:
            raise AlignError(f"no scale {scale!r}{did_you_mean(scale, sizes)}; there are {', '.join(sizes)}")
        if scale not in layout.free:
            free = ", ".join(sorted(layout.free)) or "none"
            raise AlignError(f"the function sees the scale {scale!r}: it is not free; the free ones are {free}")
        factor, n = np.asarray(values, np.float64), sizes[scale]
        if factor.shape != (n,):
            raise AlignError(
                f"the factors of {scale!r} have shape {list(factor.shape)}, but it has {n} channels: [{n}]"
            )
        if not (np.isfinite(factor) & (factor > 0)).all():
            raise AlignError(f"the factors of {scale!r} must be finite and above 0; the least is {factor.min():g}")
        out[scale] = factor
    return out


def check_alike(layout: Layout, a: Tree, b: Tree) -> None:
    """Raises AlignError, naming the leaf, unless both networks have the same leaves and shapes."""
    first, second = flatten(a), flatten(b)
    for x, y, who in ((first, second, "second"), (second, first, "first")):
        if missing := [path for path in x if path not in y]:
            raise AlignError(f"the {who} network lacks leaf {missing[0]!r}{did_you_mean(missing[0], y)}")
    for path, x in first.items():
        if tuple(x.shape) != tuple(second[path].shape):
            raise AlignError(
                f"leaf {path!r} is {list(x.shape)} in the first network, but {list(second[path].shape)} in the second; "
                "only equal shapes can be aligned: transplant the narrower network into the wider shape first"
            )
    sizes_of(layout, first)
