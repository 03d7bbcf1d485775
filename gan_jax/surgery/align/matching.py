"""The order of channels in which two networks are most alike: by activations, and by weights."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from gan_jax.extras import require
from gan_jax.surgery.align.apply import AlignError, check_alike, sizes_of
from gan_jax.surgery.align.scales import canonical
from gan_jax.surgery.families.layout import Layout
from gan_jax.trees import Flat, Tree, did_you_mean, flatten

# ----------------------------------------------------------------------------------------------------------------------
# Activation matching: the order of channels in which two networks do most alike on the same inputs.

Features = Mapping[str, Any]  # module path -> [N, .., C], of `Net.activations`


def match_activations(layout: Layout, a: Features, b: Features) -> Match:
    """Orders the channels of the second network so that they correlate most with those of the first.

    Every module that writes a group counts: where several write one residual stream, and where a norm follows, the
    correlations (mean-free, unit variance, over examples and positions) are averaged, and one order serves all. So
    are those of the positive parts, which is what readers see: all that a 1x1 reader of grey images gives is one
    image times a factor, and only where it is cut off tells its channels apart. A channel that never changes
    correlates with nothing; channels that are alike on all inputs cannot be distinguished.

    Args:
      layout: of both.
      a: what the modules of the network to align with give: `pair.g.activations(variables, z)`.
      b: the same inputs through the network to align.

    Raises:
      AlignError: a module is missing, or the two networks' outputs differ in shape.
    """
    orders, before, after = {}, [], []
    for group, modules in producers(layout).items():
        if group in layout.pinned:
            continue
        total = np.mean([_correlation(layout, group, module, path, a, b) for module, path in modules.items()], axis=0)
        orders[group] = best_order(total)
        before.append(np.diag(total))
        after.append(total[np.arange(len(total)), orders[group]])
    return Match(orders, float(np.concatenate(before).mean()), float(np.concatenate(after).mean()))


def producers(layout: Layout) -> dict[str, dict[str, str]]:
    """Group -> the modules whose output it numbers, each with a leaf that says how the output's last axis is fused.

    A module that reads the channels again by another leaf, as a head does behind a weight for each channel, gives
    something else.
    """
    out: dict[str, dict[str, str]] = {group: {} for group in layout.groups}
    module = lambda path: path.partition("/")[2].rpartition("/")[0]
    for group, places in layout.groups.items():
        axis = lambda path, i: layout.leaves[path].axes[i]
        written = {path for path, i in places if path.startswith("params/") and not axis(path, i).reads}
        again = {module(path) for path, i in places if axis(path, i).reads and path not in written}
        for path in layout.leaves:
            if (
                path in written and module(path) not in again and not path.endswith("/const")
            ):  # no module gives that one
                out[group].setdefault(module(path), path)
    return out


def _correlation(layout: Layout, group: str, module: str, path: str, a: Features, b: Features) -> np.ndarray:
    """`[n, n]`: channel i of `a` with channel j of `b`."""
    for features, who in ((a, "first"), (b, "second")):
        if module not in features:
            raise AlignError(f"the {who} network's activations lack {module!r}{did_you_mean(module, features)}")
    if a[module].shape != b[module].shape:
        raise AlignError(
            f"module {module!r} gives {list(a[module].shape)} in the first network, but {list(b[module].shape)} in the "
            "second; give both the same inputs, and transplant the narrower network into the wider shape first"
        )
    x, y = (_columns(layout, group, path, features[module]) for features in (a, b))
    rectified = lambda columns: _unit(np.maximum(columns, 0))
    each = [_unit(u).T @ _unit(v) + rectified(u).T @ rectified(v) for u, v in zip(x, y)]
    return np.sum(each, axis=0) / (2 * len(each))


def _columns(layout: Layout, group: str, path: str, output: Any) -> np.ndarray:
    """`[places, examples and positions, n]` float64; places are those in each run of a grouped convolution, else one."""
    leaf = layout.leaf(path)
    start, stop = leaf.fused[-1]  # what is written comes last
    values, axes = np.asarray(output, np.float64), leaf.axes[start:stop]
    known = [axis.size or -1 for axis in axes]
    values = values.reshape(*values.shape[:-1], *known)
    first = values.ndim - len(axes)
    number = next(first + i for i, a in enumerate(axes) if a.group == group)
    places = [first + i for i, a in enumerate(axes) if a.group not in (None, group)]
    values = np.moveaxis(values, [*places, number], [*range(len(places)), -1])
    return values.reshape(math.prod(values.shape[: len(places)]), -1, values.shape[-1])


def _unit(columns: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and length 1; zeros for a channel that never changes."""
    size = np.abs(columns).max(axis=0, initial=0.0)
    columns = columns - columns.mean(axis=0, keepdims=True)
    length = np.linalg.norm(columns, axis=0)
    alive = length > 1e-6 * size * np.sqrt(len(columns))  # below, it is rounding around a constant
    return np.where(alive, columns / np.where(alive, length, 1.0), 0.0)


# ----------------------------------------------------------------------------------------------------------------------
# Weight matching: the order of channels in which two networks' weights are most alike, without any data.
#
# Git Re-Basin (Ainsworth, Hayase and Srinivasa, 2023), coordinate ascent over groups of channels.

MIN_GAIN = 1e-12  # a smaller rise of the inner product is rounding


@dataclasses.dataclass(frozen=True)
class Match:
    """Orders for `permute(layout, b, orders)`, under which `b` is most like `a`.

    Attributes:
      orders: group -> order `[n]`.
      before, after: cosine of the two networks' weights on canonical scales (`match_weights`), or mean correlation of
        paired channels (`match_activations`), as they came and in the new order.
      sweeps: passes over all groups.
    """

    orders: dict[str, np.ndarray]
    before: float
    after: float
    sweeps: int = 1


def match_weights(
    layout: Layout,
    a: Tree,
    b: Tree,
    *,
    seed: int = 0,
    statistics: bool = False,
    max_sweeps: int = 100,
    from_inputs: bool = False,
) -> Match:
    """Orders the channels of `b` so that its weights are most like those of `a`.

    Maximises the inner product of all parameters on canonical scales. One group at a time, in random order: the best
    order while the others stay is a linear assignment; until a sweep finds nothing better. It starts from the order as
    it is. That is a local search: between unlike networks another seed ends a little elsewhere, and in narrow ones even
    a copy's order may be missed. `from_inputs` searches a second time, from the order that groups have by their leaves
    that read nothing unknown, from the inputs onwards, and takes the better end: a copy is found for certain where no
    two channels are alike.

    Args:
      layout: of both.
      a: variables to align with.
      b: variables to align.
      seed: of the order in which groups are visited.
      statistics: whether batch statistics count beside the parameters. Singular vectors never do.
      max_sweeps: over all groups.
      from_inputs: whether to search from a second start too.

    Raises:
      AlignError: the networks differ in leaves or shapes.
    """
    check_alike(layout, a, b)
    counted = ("params/", "batch_stats/") if statistics else ("params/",)
    first, second = (
        {path: np.asarray(x, np.float64) for path, x in flatten(_as_float64(layout, tree)).items()} for tree in (a, b)
    )
    problem = _Problem(layout, *({p: x for p, x in f.items() if p.startswith(counted)} for f in (first, second)))
    identity = {group: np.arange(n, dtype=np.int32) for group, n in problem.sizes.items()}
    ends = [
        problem.climb(start, np.random.default_rng(seed), max_sweeps)
        for start in (identity, *([problem.forward()] if from_inputs else []))
    ]
    orders, sweeps = max(ends, key=lambda end: problem.inner(end[0], problem.a))  # the first of equal ones
    norm = float(np.sqrt(sum((x**2).sum() for x in problem.a.values()) * sum((x**2).sum() for x in problem.b.values())))
    cosine = lambda orders: problem.inner(orders, problem.a) / max(norm, 1e-300)
    return Match(orders, cosine(identity), cosine(orders), sweeps)


def best_order(similarity: np.ndarray) -> np.ndarray:
    """The order of columns `[n] int32` with the largest sum of `similarity[i, order[i]]`."""
    solve = require("scipy.optimize", extra="align").linear_sum_assignment
    return solve(similarity, maximize=True)[1].astype(np.int32)


class _Problem:
    """Two networks' leaves, and the inner product as a function of the orders."""

    def __init__(self, layout: Layout, a: Flat, b: Flat):
        self.layout, self.a, self.b = layout, a, b
        self.sizes = {group: n for group, n in sizes_of(layout, a).items() if group not in layout.pinned}
        self.places = {
            group: [(path, axis) for path, axis in places if path in a] for group, places in layout.groups.items()
        }

    def inner(self, orders: dict[str, np.ndarray], paths: Iterable[str]) -> float:
        """The inner product over these leaves."""
        total = 0.0
        for path in paths:
            leaf = self.layout.leaf(path)
            x, y = (tree[path].reshape(leaf.view(tree[path].shape)) for tree in (self.a, self.b))
            for i, axis in enumerate(leaf.axes):
                y = y.take(orders[axis.group], axis=i) if axis.group in orders else y
            total += float((x * y).sum())
        return total

    def similarity(
        self, group: str, orders: dict[str, np.ndarray], places: Iterable[tuple[str, int]] | None = None
    ) -> np.ndarray:
        """`[n, n]`: channel i of `a` against channel j of `b`, whose other axes are in order; by all places or these."""
        n = self.sizes[group]
        total = np.zeros((n, n))
        for path, axis in self.places[group] if places is None else places:
            leaf = self.layout.leaf(path)
            shape = leaf.view(self.a[path].shape)
            x, y = self.a[path].reshape(shape), self.b[path].reshape(shape)
            for i, other in enumerate(leaf.axes):
                if i != axis and other.group in orders:
                    y = y.take(orders[other.group], axis=i)
            total += np.moveaxis(x, axis, 0).reshape(n, -1) @ np.moveaxis(y, axis, 0).reshape(n, -1).T
        return total

    def forward(self) -> dict[str, np.ndarray]:
        """Orders group by group, each by those of its leaves whose other groups have theirs, most values first."""
        orders: dict[str, np.ndarray] = {}
        while len(orders) < len(self.sizes):
            known = {group: self._known(group, orders) for group in self.sizes if group not in orders}
            group = max(known, key=lambda name: sum(self.a[path].size for path, _ in known[name]))
            orders[group] = best_order(self.similarity(group, orders, known[group] or self.places[group]))
        return orders

    def _known(self, group: str, orders: dict[str, np.ndarray]) -> list[tuple[str, int]]:
        """The places of a group in leaves all of whose other groups have an order, or none to find."""
        ready = lambda other: other not in self.sizes or other in orders or other == group
        return [
            (path, axis) for path, axis in self.places[group]
            if all(ready(leaf_axis.group) for leaf_axis in self.layout.leaf(path).axes if leaf_axis.group is not None)
        ]  # fmt: skip

    def climb(self, start: dict[str, np.ndarray], rng: np.random.Generator, max_sweeps: int) -> tuple[dict, int]:
        """(orders that no single group can better, sweeps)."""
        orders, groups = dict(start), list(self.sizes)
        slack = MIN_GAIN * max(1.0, sum(float((x**2).sum()) for x in self.a.values()))
        for sweep in range(1, max_sweeps + 1):
            better = False
            for group in rng.permutation(groups):
                order = best_order(self.similarity(group, orders))
                touched = list(dict.fromkeys(path for path, _ in self.places[group]))
                trial = orders | {group: order}
                if self.inner(trial, touched) - self.inner(orders, touched) > slack:
                    orders, better = trial, True
            if not better:
                return orders, sweep
        return orders, max_sweeps


def _as_float64(layout: Layout, variables: Tree) -> Tree:
    return canonical(layout, jax.tree_util.tree_map(lambda x: np.asarray(x, np.float64), variables))
