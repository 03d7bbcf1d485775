"""Widening by copies (Net2WiderNet), and narrowing by importance.

Copies: channel j of a wider group is a copy of channel g(j), g(j) = j for the old ones and drawn for the new. Leaves
that write the group repeat its channels, leaves that read it divide them: the weights with which copies of one channel
are read sum to the weight with which it was read (Chen, Goodfellow, Shlens, 2016). The shares are drawn for every
weight: with equal ones copies get equal gradients, and with one share per copy gradients that are multiples of each
other, which Adam makes equal again. Nothing is exact where a kernel is divided by its singular value.

Importance: a channel counts as much as the channels that read it, weighted with how it is read and how large it is
written, from the output backwards. A channel from which no path of non-zero weights leads out counts exactly nothing
and goes first: so narrowing undoes function-preserving widening, although new channels are read by other new ones.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any, Literal

import numpy as np

from gan_jax.random_streams import path_number
from gan_jax.surgery.axes import parse
from gan_jax.surgery.ops.basic import Args, OpError, Shape, wide, xp_of
from gan_jax.surgery.ops.join import check_keep, folded, keep_best, unfolded

Width = Literal["silent", "net2wider"]
Narrow = Literal["leading", "strongest"]
_READING: ContextVar[tuple[dict[int, str], dict[Any, Any]]] = ContextVar("reading", default=({}, {}))


def seed_of(seed: int, name: str) -> int:
    """A seed of its own for a group or a leaf."""
    return path_number(f"{seed}:{name}")


def copies(old: int, new: int, seed: int) -> list[int]:
    """The map g, `[new]`: j for j < old, drawn for the others. A longer one begins with a shorter one."""
    drawn = np.random.default_rng(seed).random(new - old)
    return [*range(old), *(int(x * old) for x in drawn)]


def duplicate_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    shape = list(unfolded(shapes[0], args))
    for choice in args["axes"]:
        if wrong := [i for i in choice["index"] if not 0 <= i < shape[choice["axis"]]]:
            raise OpError(f"copy of {wrong[0]} lies outside axis {choice['axis']} of {shape}")
        shape[choice["axis"]] = len(choice["index"])
    return folded(tuple(shape), args)


def duplicate(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """Copies along `args["axes"]`, each with its `index`; with a `seed` where the axis is read, its copies share."""
    x = wide(sources[0])
    x, xp = x.reshape(unfolded(x.shape, args)), xp_of(x)
    for choice in args["axes"]:
        axis, index = choice["axis"], np.array(choice["index"], np.int32)
        shape = list(x.shape)
        x = xp.take(x, index, axis=axis)
        if "seed" in choice:
            drawn = np.moveaxis(np.random.default_rng(choice["seed"]).uniform(0.5, 1.5, x.shape), axis, 0)
            totals = np.zeros((shape[axis], *drawn.shape[1:]))
            np.add.at(totals, index, drawn)
            x = x * xp.asarray(np.moveaxis(drawn / totals[index], 0, axis), dtype=x.dtype)
    return x.reshape(folded(x.shape, args)).astype(sources[0].dtype)


def important_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    shape = list(unfolded(shapes[0], args))
    if len(shapes) != len(args["layout"]):
        raise OpError(f"the layout describes {len(args['layout'])} leaves, but {len(shapes)} are named")
    for choice in args["axes"]:
        axis, keep = choice["axis"], choice["keep"]
        check_keep(keep, axis, shape)
        shape[axis] = keep
    return folded(tuple(shape), args)


def important(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """Keeps the most important channels, in their order: `keep` of those of `group` along each of `args["axes"]`.

    `args["layout"]` has for each source its place among the leaves of the network and its axes, as `surgery.axes`
    writes them, or None for one that says nothing of importance. All leaves of a group are given the same ones, and
    taking them by their place makes them keep the same channels. Equally important ones go to the lower index.
    """
    out = sources[0].reshape(unfolded(sources[0].shape, args))
    scored = sorted((about[0], i) for i, about in enumerate(args["layout"]) if about is not None)
    texts = [args["layout"][i][1] for _, i in scored]
    names, cache = _READING.get()
    key = (tuple(names.get(id(sources[i])) for _, i in scored), tuple(texts), args["sweeps"])
    scores = cache.get(key) or importance([sources[i] for _, i in scored], texts, args["sweeps"])
    if None not in key[0]:
        cache[key] = scores
    for choice in args["axes"]:
        out = keep_best(out, scores[choice["group"]], choice["keep"], choice["axis"])
    return out.reshape(folded(out.shape, args))


@contextlib.contextmanager
def reading(arrays: Sequence[Any], names: Sequence[str], cache: dict[Any, Any]) -> Iterator[None]:
    """Within it, these arrays are the leaves of these names, and the importance of their channels is kept in `cache`.

    Every narrowed leaf of a network asks for it, of all leaves: a transplant works it out once.
    """
    token = _READING.set(({id(x): name for x, name in zip(arrays, names)}, cache))
    try:
        yield
    finally:
        _READING.reset(token)


def importance(arrays: Sequence[Any], texts: Sequence[str], sweeps: int) -> dict[str, Any]:
    """Group -> importance of each channel, summing to one; zero for those that the output cannot see.

    Args:
      arrays: the leaves of a network.
      texts: their axes, as in a layout.
      sweeps: how often importance is passed back; as many as there are groups reaches all of them.
    """
    xp = xp_of(*arrays)
    size: dict[tuple[str, str], Any] = {}  # (group, scale) -> squared norm of what is written there
    reads: list[tuple[str, str, list[str], Any]] = []  # group, scale, groups written, weights [in, out..]
    for array, text in zip(arrays, texts, strict=True):
        leaf = parse(text)
        array = wide(array).reshape(leaf.view(array.shape))
        written = [i for i, axis in enumerate(leaf.axes) if axis.group and not axis.reads]
        for i, axis in enumerate(leaf.axes):
            if axis.group is None or axis.scale is None:
                continue
            kept = [i, *written] if axis.reads else [i]
            others = tuple(j for j in range(array.ndim) if j not in kept)
            if not axis.reads:
                size[axis.group, axis.scale] = size.get((axis.group, axis.scale), 0.0) + (array * array).sum(
                    axis=others
                )
                continue
            weights = xp.moveaxis(xp.abs(array).sum(axis=others), sum(j < i for j in written), 0)
            reads.append((axis.group, axis.scale, [str(leaf.axes[j].group) for j in written], weights))
    groups = dict.fromkeys(group for group, *_ in reads)
    scores: dict[str, Any] = {}
    for _ in range(sweeps):
        sums: dict[str, Any] = {}
        for group, scale, ahead, weights in reads:
            if any(name not in scores for name in ahead):
                continue
            for name in reversed(ahead):
                weights = weights @ scores[name]
            value = weights * xp.sqrt(size[group, scale])
            sums[group] = sums.get(group, 0.0) + value
        scores = {group: value / xp.maximum(value.sum(), 1e-30) for group, value in sums.items()}
    if missing := [group for group in groups if group not in scores]:
        raise OpError(f"no output reads {missing[0]!r}, so that the importance of its channels is unknown")
    return scores
