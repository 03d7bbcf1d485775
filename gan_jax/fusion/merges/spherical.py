"""Interpolation on the sphere, tensor by tensor: directions are turned into each other, lengths do not shrink.

A mean of two weights that have little in common is shorter than both, as their random parts cancel.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.fusion.merges.leaves import MergeError, Weights, coefficients, each_leaf, weighted_sum
from gan_jax.trees import Tree

NEARLY_PARALLEL = 0.9995  # |cos| beyond which mergekit interpolates linearly: there sin(angle) divides by little


def slerp(donors: Sequence[Tree], t: float | jax.Array = 0.5) -> Tree:
    """`(sin((1-t) a) x + sin(t a) y) / sin(a)` with a the angle between two tensors x and y (Shoemake, 1985).

    Linear where they are nearly parallel or opposite, and where one is zero and has no direction.

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
        angle = jnp.arccos(jnp.where(linear, 0.0, cos))  # of a harmless number, so that no slope is infinite
        of_x = jnp.where(linear, 1 - s, jnp.sin((1 - s) * angle) / jnp.sin(angle))
        of_y = jnp.where(linear, s, jnp.sin(s * angle) / jnp.sin(angle))
        return of_x * x + of_y * y

    return each_leaf(between, donors)


def karcher(donors: Sequence[Tree], weights: Weights = None, *, iterations: int = 10) -> Tree:
    """The direction whose weighted squared angles to all donors' are least, with the weighted mean of their lengths.

    Of two donors of equal length it is `slerp`. Tensors of zeros have a length and no direction. Donors whose
    directions cancel have no such mean; of them it is the average.

    Args:
      donors: trees of one shape.
      weights: one for each donor, none negative, normalised; None = 1/N.
      iterations: steps along the sphere, each the mean of the arcs to the donors.
    """
    w = coefficients(weights, len(donors), normalize=True)

    def mean(path: str, xs: list[jax.Array], _: Any) -> jax.Array:
        lengths = [_norm(x) for x in xs]
        units = [x / jnp.where(length > 0, length, 1.0) for x, length in zip(xs, lengths)]
        parts = [jnp.where(length > 0, jnp.asarray(v, x.dtype), 0.0) for v, x, length in zip(w, xs, lengths)]
        whole = sum(parts, jnp.zeros((), xs[0].dtype))
        parts = [part / jnp.where(whole > 0, whole, 1.0) for part in parts]
        start = weighted_sum(parts, units)
        found = _search(_unit(start), parts, units, iterations)
        cancel = _norm(start) < 1e-6
        return jnp.where(cancel, weighted_sum(w, xs), weighted_sum(w, lengths) * found)

    return each_leaf(mean, donors)


@functools.partial(jax.jit, static_argnames="iterations")  # or every leaf would leave a program of its own
def _search(at: jax.Array, parts: Sequence[jax.Array], units: Sequence[jax.Array], iterations: int) -> jax.Array:
    return jax.lax.fori_loop(0, iterations, lambda i, at: _step(at, parts, units), at)


def _step(at: jax.Array, parts: Sequence[jax.Array], units: Sequence[jax.Array]) -> jax.Array:
    """From a point on the sphere along the mean of the arcs to all others."""
    arcs = []
    for unit in units:
        cos = jnp.vdot(at, unit, precision="highest")
        across = unit - cos * at
        sin = _norm(across)  # the angle from both is exact for small ones, arccos is not
        arcs.append(across * jnp.where(sin > 0, jnp.arctan2(sin, cos) / jnp.where(sin > 0, sin, 1.0), 1.0))
    arc = weighted_sum(parts, arcs)
    length = _norm(arc)
    return _unit(jnp.cos(length) * at + jnp.sinc(length / jnp.pi) * arc)


def _norm(x: jax.Array) -> jax.Array:
    """The length of all values; its slope at zero is zero and not undefined."""
    square = jnp.sum(jnp.square(x))
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)


def _unit(x: jax.Array) -> jax.Array:
    length = _norm(x)
    return x / jnp.where(length > 0, length, 1.0)
