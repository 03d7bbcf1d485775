"""Activation matching: the order of channels in which two networks do most alike on the same inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from gan_jax.surgery.align.checks import AlignError
from gan_jax.surgery.align.weights import Match, best_order
from gan_jax.surgery.families.layout import Layout
from gan_jax.trees import did_you_mean

Features = Mapping[str, Any]  # module path -> [N, .., C], of `Net.activations`


def match_activations(layout: Layout, a: Features, b: Features) -> Match:
    """Orders the channels of the second network so that they correlate most with those of the first.

    Every module that writes a group counts: where several write one residual stream, and where a norm follows, the
    correlations (mean-free, unit variance, over examples and positions) are averaged, and one order serves all. So
    are those of the positive parts, which is what readers see: all that a 1x1 reader of grey images gives is one
    image times a factor, and only where it is cut off tells its channels apart. A channel that never changes
    correlates with nothing; channels that are alike on all inputs cannot be told apart.

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
