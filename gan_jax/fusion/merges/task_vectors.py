"""Task vectors `tau_i = donor_i - base`, merged by task arithmetic (a sum) or TIES (trimmed, where signs agree).

Task arithmetic (Ilharco et al., 2023) and TIES (Yadav et al., NeurIPS 2023). Both are linear in `lam`, and `lam=0` gives
the base. Each leaf is trimmed on its own, as in mergekit; the code of TIES trims all leaves as one vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.fusion.merges.leaves import (
    MergeError,
    Weights,
    coefficients,
    float_leaves,
    rebuild,
    weighted_sum,
)
from gan_jax.trees import Tree, flatten

Vectors = dict[str, list[jax.Array]]  # path -> tau of each donor


def task_arithmetic(
    base: Tree,
    donors: Sequence[Tree],
    weights: Weights = None,
    *,
    lam: float | jax.Array = 1.0,
    normalize: bool = False,
) -> Tree:
    """Computes `base + lam sum_i w_i tau_i`.

    Args:
      base: tree.
      donors: trees of its shape.
      weights: one for each donor; None = 1. Negative ones unlearn.
      lam: factor of the sum; 0.3 to 0.4 is usual for several donors, 1 for one.
      normalize: divide the weights by their sum.
    """
    return add(base, donors, vectors_of(base, donors), weights, lam, normalize, elect=False)


def ties(
    base: Tree,
    donors: Sequence[Tree],
    weights: Weights = None,
    *,
    density: float = 0.2,
    lam: float | jax.Array = 1.0,
    normalize: bool = True,
    majority: Any = None,
) -> Tree:
    """Trims, elects signs and merges values that agree: `base + lam mean of the tau_i with the sign of sum_i w_i tau_i`.

    Where the sum is zero, the sign is the majority in the tree; without a majority the base stays.

    Args:
      base: tree.
      donors: trees of its shape.
      weights: one for each donor; None = 1.
      density: fraction of each leaf of tau that is kept: its largest values, at least one, with ties.
      lam: factor of the mean.
      normalize: take the mean of the values that agree; False = their sum.
      majority: `[]` the majority sign, if `base` and `donors` are parts of trees; None = they are full trees.

    Raises:
      MergeError: a density that is not in (0, 1].
    """
    return add(base, donors, _trimmed(base, donors, density), weights, lam, normalize, elect=True, majority=majority)


def ties_votes(base: Tree, donors: Sequence[Tree], weights: Weights = None, *, density: float = 0.2) -> jax.Array:
    """Computes `votes` of the trimmed task vectors."""
    return votes(_trimmed(base, donors, density), weights, len(donors))


def _trimmed(base: Tree, donors: Sequence[Tree], density: float) -> Vectors:
    """Computes the task vectors, each leaf trimmed to its largest values."""
    check_density(density)
    return {path: [_trim(tau, density) for tau in taus] for path, taus in vectors_of(base, donors).items()}


def vectors_of(base: Tree, donors: Sequence[Tree]) -> Vectors:
    """Computes the task vectors of float leaves, in at least float32."""
    leaves: Any = float_leaves(donors, base)
    return {path: [x - origin for x in xs] for path, (xs, origin) in leaves.items()}


def _trim(tau: jax.Array, density: float) -> jax.Array:
    """Sets all but the largest values to zero."""
    keep = max(1, int(density * tau.size))
    if keep >= tau.size:
        return tau
    size = jnp.abs(tau)
    return jnp.where(size >= jax.lax.top_k(size.ravel(), keep)[0][-1], tau, 0.0)


def add(
    base: Tree,
    donors: Sequence[Tree],
    vectors: Vectors,
    weights: Weights,
    lam: float | jax.Array,
    normalize: bool,
    *,
    elect: bool,
    majority: Any = None,
) -> Tree:
    """Adds lam times the sum, or with `elect` the disjoint mean, of weighted vectors to the base; `majority` as in `ties`."""
    w = coefficients(weights, len(donors), normalize=normalize and not elect)
    origin = flatten(base)
    sums = {path: weighted_sum(w, taus) for path, taus in vectors.items()}
    if elect:
        most = jnp.sign(votes(vectors, weights, len(donors))) if majority is None else jnp.asarray(majority)
        sums = {path: _agreed(vectors[path], w, total, most, normalize) for path, total in sums.items()}
    step = {path: total * jnp.asarray(lam, total.dtype) for path, total in sums.items()}
    return rebuild({path: jnp.asarray(origin[path], x.dtype) + x for path, x in step.items()}, base)


def votes(vectors: Vectors, weights: Weights, count: int) -> jax.Array:
    """Counts positive minus negative values of the weighted sums: `[]` float32. Votes of parts of trees add up."""
    w = coefficients(weights, count, normalize=False)
    signs = [jnp.sign(weighted_sum(w, taus)).sum().astype(jnp.float32) for taus in vectors.values()]
    return sum(signs, jnp.zeros((), jnp.float32))


def _agreed(
    taus: Sequence[jax.Array], weights: Sequence[Any], total: jax.Array, majority: jax.Array, normalize: bool
) -> jax.Array:
    """Computes the weighted sum, or mean, of the values with the elected sign."""
    sign = jnp.where(total == 0, majority.astype(total.dtype), jnp.sign(total))
    parts = [tau * jnp.asarray(w, tau.dtype) for w, tau in zip(weights, taus)]
    agree = [(jnp.sign(part) == sign) & (part != 0) for part in parts]
    value = sum((jnp.where(a, part, 0.0) for a, part in zip(agree, parts)), jnp.zeros_like(total))
    if not normalize:
        return value
    share = sum((jnp.where(a, jnp.asarray(w, total.dtype), 0.0) for a, w in zip(agree, weights)), jnp.zeros_like(total))
    return value / jnp.where(share == 0, 1.0, share)


def check_density(density: float) -> None:
    """Raises MergeError unless density is in (0, 1]."""
    if not 0 < density <= 1:
        raise MergeError(f"density is {density:g}; it is the part of each leaf that is kept, above 0 and at most 1")
