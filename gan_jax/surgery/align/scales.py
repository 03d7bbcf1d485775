"""One representative of all networks that differ in free scales only: what is compared or averaged must share it."""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import TopologicalSorter
from typing import Any

import numpy as np

from gan_jax.surgery.align.apply import rescale
from gan_jax.surgery.align.checks import scale_sizes
from gan_jax.surgery.families.layout import Layout
from gan_jax.surgery.ops.arrays import wide, xp_of
from gan_jax.surgery.ops.spectral import top_vector
from gan_jax.trees import Flat, Tree, flatten, unflatten

DEAD = 1e-12  # what is written below this RMS is silent: its scale is left alone


def canonical(layout: Layout, variables: Tree) -> Tree:
    """The same function on canonical scales.

    Every free scale: what is written (kernels and biases; scale and bias of a norm) has RMS 1 for each channel, and
    readers make up for it. Every spectral kernel: divided by its largest singular value, its vector `u` kept. Networks
    that `rescale`, or a factor on a spectral kernel, make from each other have one canonical form, up to rounding.

    Exact in evaluation mode; for training mode see `rescale`.
    """
    return _unit_spectra(layout, rescale(layout, variables, canonical_factors(layout, variables)))


def canonical_factors(layout: Layout, variables: Tree) -> dict[str, np.ndarray]:
    """The factor of every free scale, `[n]` float64, with which `rescale` makes the canonical form."""
    flat = {path: np.asarray(x, np.float64) for path, x in flatten(variables).items()}
    sizes = scale_sizes(layout, flat)
    factors: dict[str, np.ndarray] = {}
    for scale in scale_order(layout):  # a kernel is measured after what it reads has its scale
        if scale in layout.free and scale in sizes:
            rms = _written_rms(layout, flat, scale, factors, sizes[scale])
            factors[scale] = np.where(rms > DEAD, 1 / np.maximum(rms, DEAD), 1.0)
    return factors


def scale_order(layout: Layout) -> list[str]:
    """All scales, from the input to the output."""
    graph: dict[str, set[str]] = {}
    for leaf in layout.leaves.values():
        read = {axis.scale for axis in leaf.axes if axis.reads and axis.scale is not None}
        for name in read:
            graph.setdefault(name, set())
        for axis in leaf.axes:
            if not axis.reads and axis.scale is not None:
                graph.setdefault(axis.scale, set()).update(read)
    return list(TopologicalSorter(graph).static_order())


def in_scales_of(layout: Layout, variables: Tree, like: Tree) -> Tree:
    """The same function on the scales of another network, which can then stay as it is.

    Factors and singular values of `like` are given to `variables`: their canonical forms do not change.
    """
    factors = {scale: 1 / c for scale, c in canonical_factors(layout, like).items()}
    out = flatten(rescale(layout, canonical(layout, variables), factors))
    model = flatten(like)
    for path in layout.spectral:
        out[path] = _times(out[path], singular_value(model[path]))
    return unflatten(out, like=variables)


def singular_vectors(layout: Layout, variables: Tree) -> Tree:
    """New vectors `u` for every spectral kernel: those of a mixture are not the mixture of those.

    `u` belongs to its kernel up to the sign, so that two aligned networks may hold opposite ones.
    """
    flat = flatten(variables)
    for path in layout.spectral:
        u = vector_of(path)
        flat[u] = top_vector(flat[path], flat[u])
    return unflatten(flat, like=variables)


def vector_of(path: str) -> str:
    """`params/head/kernel` -> `spectral/head/u`."""
    return f"spectral/{path.removeprefix('params/').rpartition('/')[0]}/u"


def singular_value(kernel: Any) -> float:
    """The largest one of `[.., O]` read as a matrix, in float64."""
    return float(np.linalg.norm(np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1]), 2))


def written(layout: Layout, scale: str, paths: Sequence[str]) -> list[tuple[str, int]]:
    """The (parameter, axis) pairs that write a scale."""
    return [
        (path, i)
        for path in paths
        if path.startswith("params/")
        for i, axis in enumerate(layout.leaf(path).axes)
        if axis.scale == scale and not axis.reads
    ]


def _written_rms(layout: Layout, flat: Flat, scale: str, factors: dict[str, np.ndarray], n: int) -> np.ndarray:
    squares, count = np.zeros(n), 0
    for path, axis in written(layout, scale, list(flat)):
        leaf = layout.leaf(path)
        x = flat[path].reshape(leaf.view(flat[path].shape))
        for i, other in enumerate(leaf.axes):
            if other.reads and other.scale in factors:
                shape = [1] * x.ndim
                shape[i] = -1
                x = x / factors[other.scale].reshape(shape)
        rows = np.moveaxis(x, axis, 0).reshape(n, -1)
        squares, count = squares + (rows**2).sum(1), count + rows.shape[1]
    return np.sqrt(squares / max(count, 1))


def _unit_spectra(layout: Layout, variables: Tree) -> Tree:
    flat = flatten(variables)
    for path in layout.spectral:
        value = singular_value(flat[path])
        flat[path] = _times(flat[path], 1 / value) if value > DEAD else flat[path]
    return unflatten(flat, like=variables)


def _times(x: Any, factor: float) -> Any:
    return (wide(x) * xp_of(x).asarray(factor, dtype=wide(x).dtype)).astype(x.dtype)
