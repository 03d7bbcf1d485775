"""Orders and scales of channels: checked, applied to trees, inverted, and as a plan. None changes the function."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gan_jax.nets.layers import Norm
from gan_jax.roots import network_of
from gan_jax.surgery.axes import Leaf
from gan_jax.surgery.families.layout import Layout
from gan_jax.surgery.ops import Step
from gan_jax.surgery.ops.basic import Shape, xp_of
from gan_jax.surgery.plan import Plan
from gan_jax.surgery.planner import make_entry
from gan_jax.trees import Flat, Tree, TreeError, did_you_mean, flatten, unflatten

# ----------------------------------------------------------------------------------------------------------------------
# Checks of orders and factors against the numbers of channels.

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


# ----------------------------------------------------------------------------------------------------------------------
# Application and inversion.

EPSILON: float = Norm.epsilon  # of batch norm


def permute(layout: Layout, variables: Tree, orders: Orders) -> Tree:
    """Reorders the channels of a network; its function stays, exactly. Arrays keep kind and dtype.

    Args:
      layout: of this network.
      variables: its collections.
      orders: group -> order; channel i of the result is channel `order[i]`. Groups that are not named stay.

    Raises:
      AlignError: a group that the layout does not have, or an order that is no permutation of its channels.
    """
    flat = flatten(variables)
    orders = check_orders(layout, flat, orders)

    def moved(path: str, x: Any) -> Any:
        leaf = layout.leaf(path)
        axes = [(i, axis.group) for i, axis in enumerate(leaf.axes) if axis.group in orders]
        out = x.reshape(leaf.view(x.shape)) if axes else x
        for i, group in axes:
            out = xp_of(x).take(out, orders[group], axis=i)
        return out.reshape(x.shape)

    return unflatten({path: moved(path, x) for path, x in flat.items()}, like=variables)


def inverse(orders: Orders) -> dict[str, np.ndarray]:
    """Orders that undo these: with them, `permute` brings a permuted tree back."""
    return {group: np.argsort(np.asarray(order)).astype(np.int32) for group, order in orders.items()}


def rescale(layout: Layout, variables: Tree, factors: Factors) -> Tree:
    """Rescales the channels of a network; its function stays.

    What is written is multiplied by the factor c, what is read divided by it; batch norm's mean by c, and its variance
    becomes `c^2 (var + e) - e`, so that evaluation mode is exact. In training mode the batch's own variance v takes
    that place, and a normalised channel changes by the factor `sqrt((v + e) / (v + e / c^2))`, e = 1e-5.

    Args:
      layout: of this network.
      variables: its collections.
      factors: scale -> `[n]`, above 0. Scales that are not named stay.

    Raises:
      AlignError: a scale that is unknown or that the function sees, a wrong length, a factor that is not above 0.
    """
    flat = flatten(variables)
    factors = check_factors(layout, flat, factors)
    out = {path: _scaled(path, x, layout, factors) for path, x in flat.items()}
    return unflatten(out, like=variables)


def plan_permute(layouts: Mapping[str, Layout], specs: Tree, orders: Mapping[str, Orders]) -> Plan:
    """The orders as a plan for `transplant`, so that they are recorded, and moments and averages follow.

    Args:
      layouts: of `g` and `d`, or of networks by other names.
      specs: `{"g": variables, "d": variables, "g_ema": variables}`, any of them, arrays or ShapeDtypeStructs.
      orders: `{"g": orders, "d": orders}`; an average such as `g_ema` takes those of its network.
    """
    flat = flatten(specs)
    entries = []
    for root in dict.fromkeys(path.split("/")[0] for path in flat):
        name = network_of(root)
        if name not in layouts:
            raise AlignError(f"no layout for {root!r}; there are layouts for {', '.join(layouts)}")
        layout = layouts[name]
        mine = {path.partition("/")[2]: leaf for path, leaf in flat.items() if path.split("/")[0] == root}
        chosen = check_orders(layout, mine, orders.get(name, {}))
        for tail, leaf in mine.items():
            path, steps = f"{root}/{tail}", _gathers(layout.leaf(tail), tuple(leaf.shape), chosen)
            entries.append(make_entry(path, leaf, (path,), flat, steps))
    return Plan(tuple(entries), notes=("channels in another order: the function stays",))


def _scaled(path: str, x: Any, layout: Layout, factors: Mapping[str, np.ndarray]) -> Any:
    uses = [use for use in layout.uses(path) if use.scale in factors]
    if not uses or path.startswith("spectral/"):
        return x
    variance = path.startswith("batch_stats/") and path.endswith("/var")
    out = x.reshape(layout.leaf(path).view(x.shape))
    for use in uses:
        factor = factors[use.scale]
        c = along(factor**2 if variance else 1 / factor if use.reads else factor, use.axes, out)
        out = c * (out + EPSILON) - EPSILON if variance else out * c
    return out.reshape(x.shape)


def along(factor: np.ndarray, axes: Sequence[int], like: Any) -> Any:
    """One factor for each combination of positions along these axes, in the shape that multiplies an array."""
    factor = factor.reshape([like.shape[i] for i in axes]).transpose(np.argsort(axes))
    shape = [n if i in axes else 1 for i, n in enumerate(like.shape)]
    return xp_of(like).asarray(factor.reshape(shape), dtype=like.dtype)


def _gathers(leaf: Leaf, shape: Shape, orders: Mapping[str, np.ndarray]) -> list[Step]:
    """One `gather` for each array axis that holds a channel axis; where axes are fused, over the fused axis."""
    view = leaf.view(shape)
    steps: list[Step] = []
    for axis, (start, stop) in enumerate(leaf.fused):
        positions = np.arange(shape[axis]).reshape(view[start:stop])
        for i in range(start, stop):
            if (group := leaf.axes[i].group) is not None and group in orders:
                positions = positions.take(orders[group], axis=i - start)
        index = positions.reshape(-1).tolist()
        if index != list(range(shape[axis])):
            steps.append(("gather", {"axis": axis, "index": index}))
    return steps
