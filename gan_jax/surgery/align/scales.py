"""One representative of all networks that differ in free scales only: what is compared or averaged must share it."""

from __future__ import annotations

from graphlib import TopologicalSorter
from typing import Any

import numpy as np

from gan_jax.surgery.align.apply import along, rescale, scale_sizes
from gan_jax.surgery.families.layout import Layout
from gan_jax.surgery.ops.basic import wide, xp_of
from gan_jax.surgery.ops.equalised import stretch, top_vector
from gan_jax.trees import Flat, Tree, flatten, unflatten

Loops = set[tuple[str, str]]
DEAD = 1e-12  # a channel whose RMS is below this is zero: its scale stays as it is


def canonical(layout: Layout, variables: Tree) -> Tree:
    """Rescales a network to canonical scales; its function stays.

    Every free scale: what is written (kernels and biases; scale and bias of a norm) has RMS 1 for each channel, and
    readers make up for it; of a stream that residuals add to, what it starts with. Every spectral kernel: divided by its
    largest singular value, its vector `u` kept. Networks that `rescale`, or a factor on a spectral kernel, make from each
    other have one canonical form, up to rounding.

    Exact in evaluation mode; for training mode see `rescale`.
    """
    return _unit_spectra(layout, rescale(layout, variables, canonical_factors(layout, variables)))


def canonical_factors(layout: Layout, variables: Tree) -> dict[str, np.ndarray]:
    """The factor of every free scale, `[n]` float64, with which `rescale` makes the canonical form."""
    flat = {path: np.asarray(x, np.float64) for path, x in flatten(variables).items()}
    sizes = scale_sizes(layout, flat)
    factors: dict[str, np.ndarray] = {}
    later = loops(layout)
    for scale in scale_order(layout, later):  # a kernel is measured after what it reads has its scale
        if scale in layout.free and scale in sizes:
            rms = _written_rms(layout, flat, scale, factors, later, sizes[scale])
            factors[scale] = np.where(rms > DEAD, 1 / np.maximum(rms, DEAD), 1.0)
    return factors


def scale_order(layout: Layout, later: Loops) -> list[str]:
    """All scales, from the input to the output; what leads back does not count."""
    graph = _graph(layout)
    return list(
        TopologicalSorter({name: {n for n in graph[name] if (n, name) not in later} for name in graph}).static_order()
    )


def loops(layout: Layout) -> Loops:
    """Pairs (read, written) of scales by which a residual leads back into its own stream.

    There, what is read depends on what is written, which the layout wrote first.
    """
    graph = _graph(layout)
    place = {name: i for i, name in enumerate(graph)}

    def reaches(start: str, end: str) -> bool:
        visited, stack = set(), [end]
        while stack:
            name = stack.pop()
            if name not in visited:
                visited.add(name)
                stack += graph[name]
        return start in visited

    pairs = [(read, name) for name, before in graph.items() for read in before if place[read] >= place[name]]
    return {(read, name) for read, name in pairs if reaches(name, read)}


def _graph(layout: Layout) -> dict[str, set[str]]:
    """Scale -> the scales that are read where it is written, in the order in which the layout first writes them."""
    graph: dict[str, set[str]] = {}
    for path in layout.leaves:
        uses = layout.uses(path)
        read = {use.scale for use in uses if use.reads}
        for use in uses:
            if not use.reads:
                graph.setdefault(use.scale, set()).update(read)
    return {**graph, **{name: set() for before in graph.values() for name in before if name not in graph}}


def in_scales_of(layout: Layout, variables: Tree, like: Tree) -> Tree:
    """Rescales a network to the scales of another one, which stays as it is; the function stays.

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

    `u` belongs to its kernel up to the sign, so that two aligned networks may hold opposite ones. Where the vector `v`
    of the other side is stored too, it is what the kernel makes of `u`.
    """
    flat = flatten(variables)
    for path in layout.spectral:
        u = vector_of(path)
        flat[u] = top_vector(flat[path], flat[u])
        if (v := f"{u.removesuffix('u')}v") in flat:
            image = wide(flat[path]).reshape(-1, flat[path].shape[-1]) @ wide(flat[u])
            flat[v] = (image / stretch(flat[path], flat[u])).astype(flat[v].dtype)
    return unflatten(flat, like=variables)


def vector_of(path: str) -> str:
    """`params/head/kernel` -> `spectral/head/u`."""
    return f"spectral/{path.removeprefix('params/').rpartition('/')[0]}/u"


def singular_value(kernel: Any) -> float:
    """The largest one of `[.., O]` read as a matrix, in float64."""
    return float(np.linalg.norm(np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1]), 2))


def _written_rms(
    layout: Layout, flat: Flat, scale: str, factors: dict[str, np.ndarray], later: Loops, n: int
) -> np.ndarray:
    """RMS `[n]` of all parameters that write a scale, but for those at the end of a residual on a stream."""
    squares, count = np.zeros(n), 0
    for path in (path for path in flat if path.startswith("params/")):
        uses = layout.uses(path)
        read = [use for use in uses if use.reads]
        if any((use.scale, scale) in later for use in read):
            continue
        for written in (use for use in uses if use.scale == scale and not use.reads):
            x = flat[path].reshape(layout.leaf(path).view(flat[path].shape))
            for use in read:
                x = x / along(factors[use.scale], use.axes, x) if use.scale in factors else x
            rows = np.moveaxis(x, written.axes, range(len(written.axes))).reshape(n, -1)
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
