"""Spherical interpolation, tensor by tensor: directions rotate into each other, and lengths do not shrink.

A plain mean of two unrelated tensors is shorter than both, as their random parts cancel.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.fusion.merges.leaves import MergeError, Weights, coefficients, each_leaf, weighted_sum
from gan_jax.trees import Tree

NEARLY_PARALLEL = 0.9995  # |cos| above which mergekit interpolates linearly, since sin(angle) is nearly 0


def slerp(donors: Sequence[Tree], t: float | jax.Array = 0.5) -> Tree:
    """Computes `(sin((1-t) a) x + sin(t a) y) / sin(a)` with a the angle between two tensors x and y (Shoemake, 1985).

    Interpolates linearly where x and y are nearly parallel or opposite, or where one is zero.

    Args:
      donors: two trees of one shape.
      t: 0 = the first, 1 = the second; may be traced.

    Raises:
      MergeError: not two donors.
    """
    if len(donors) != 2:
        raise MergeError(f"slerp is between two donors, but there are {len(donors)}; use karcher for more")

    def between(path: str, xs: list[jax.Array], _: Any) -> jax.Array:
        x, y = xs
        s = jnp.asarray(t, x.dtype)
        lengths = _norm(x) * _norm(y)
        cos = jnp.vdot(x, y, precision="highest") / jnp.where(lengths > 0, lengths, 1.0)
        linear = (jnp.abs(cos) > NEARLY_PARALLEL) | (lengths == 0)
        angle = jnp.arccos(jnp.where(linear, 0.0, cos))  # of 0 in linear cases, so that no gradient is infinite
        of_x = jnp.where(linear, 1 - s, jnp.sin((1 - s) * angle) / jnp.sin(angle))
        of_y = jnp.where(linear, s, jnp.sin(s * angle) / jnp.sin(angle))
        return of_x * x + of_y * y

    return each_leaf(between, donors)


def karcher(donors: Sequence[Tree], weights: Weights = None, *, iterations: int = 10) -> Tree:
    """Computes the direction with the least weighted squared angles to all donors, with the weighted mean of their lengths.

    For two donors of equal length it is `slerp`. Tensors of zeros have a length but no direction. Where the donors'
    directions cancel there is no such mean, and the result is the average.

    Args:
      donors: trees of one shape.
      weights: one for each donor, not negative, normalised; None = 1/N.
      iterations: steps along the sphere, each by the mean of the arcs to the donors.
    """
    w = coefficients(weights, len(donors), normalize=True)

    def mean(path: str, xs: list[jax.Array], _: Any) -> jax.Array:
        lengths = [_norm(x) for x in xs]
        units = [x / jnp.where(length > 0, length, 1.0) for x, length in zip(xs, lengths)]
        parts = [jnp.where(length > 0, jnp.asarray(v, x.dtype), 0.0) for v, x, length in zip(w, xs, lengths)]
        total = sum(parts, jnp.zeros((), xs[0].dtype))
        parts = [part / jnp.where(total > 0, total, 1.0) for part in parts]
        start = weighted_sum(parts, units)
        direction = _search(_unit(start), parts, units, iterations)
        cancel = _norm(start) < 1e-6
        return jnp.where(cancel, weighted_sum(w, xs), weighted_sum(w, lengths) * direction)

    return each_leaf(mean, donors)


@functools.partial(jax.jit, static_argnames="iterations")  # without it every leaf would compile its own program
def _search(at: jax.Array, parts: Sequence[jax.Array], units: Sequence[jax.Array], iterations: int) -> jax.Array:
    return jax.lax.fori_loop(0, iterations, lambda i, at: _step(at, parts, units), at)


def _step(at: jax.Array, parts: Sequence[jax.Array], units: Sequence[jax.Array]) -> jax.Array:
    """Moves a point on the sphere along the mean of its arcs to the donors."""
    arcs = []
    for unit in units:
        cos = jnp.vdot(at, unit, precision="highest")
        across = unit - cos * at
        sin = _norm(across)  # arctan2 of both is accurate for small angles, arccos is not
        arcs.append(across * jnp.where(sin > 0, jnp.arctan2(sin, cos) / jnp.where(sin > 0, sin, 1.0), 1.0))
    arc = weighted_sum(parts, arcs)
    length = _norm(arc)
    return _unit(jnp.cos(length) * at + jnp.sinc(length / jnp.pi) * arc)


def _norm(x: jax.Array) -> jax.Array:
    """Computes the length of a tensor; its gradient at zero is zero, not nan."""
    square = jnp.sum(jnp.square(x))
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)


def _unit(x: jax.Array) -> jax.Array:
    length = _norm(x)
    return x / jnp.where(length > 0, length, 1.0)
