"""What donors learned beyond a base, task vectors `tau_i = donor_i - base`: added, or trimmed and where they agree.

Task arithmetic (Ilharco et al., 2023) and TIES (Yadav et al., NeurIPS 2023). Both are linear in `lam`, and `lam=0` gives
the base. Leaves are trimmed one by one, as mergekit does; the code of TIES trims all of them as one vector.
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
    """`base + lam sum_i w_i tau_i`.

    Args:
      base: tree.
      donors: trees of its shape.
      weights: one for each donor; None = 1. Negative ones unlearn.
      lam: of the sum; 0.3 to 0.4 is usual for several donors, 1 for one.
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
    """Trim, elect signs, merge what agrees: `base + lam mean of the tau_i whose sign is that of sum_i w_i tau_i`.

    Where the sum is zero, the sign is that of most signs in the tree, and where there is no such the base stays.

    Args:
      base: tree.
      donors: trees of its shape.
      weights: one for each donor; None = 1.
      density: part of each leaf of tau that is kept, the largest; at least one value, and all that are as large as it.
      lam: of the mean.
      normalize: the mean of those that agree; False = their sum.
      majority: `[]` the sign of most signs, where `base` and `donors` are parts of trees; None = these are whole.

    Raises:
      MergeError: a density that is not in (0, 1].
    """
    return add(base, donors, _trimmed(base, donors, density), weights, lam, normalize, elect=True, majority=majority)


def ties_votes(base: Tree, donors: Sequence[Tree], weights: Weights = None, *, density: float = 0.2) -> jax.Array:
    """`votes` of what TIES has trimmed."""
    return votes(_trimmed(base, donors, density), weights, len(donors))


def _trimmed(base: Tree, donors: Sequence[Tree], density: float) -> Vectors:
    check_density(density)
    return {path: [_trim(tau, density) for tau in taus] for path, taus in vectors_of(base, donors).items()}


def vectors_of(base: Tree, donors: Sequence[Tree]) -> Vectors:
    """The task vectors of leaves of floats, in at least float32."""
    leaves: Any = float_leaves(donors, base)
    return {path: [x - own for x in xs] for path, (xs, own) in leaves.items()}


def _trim(tau: jax.Array, density: float) -> jax.Array:
    """Zeros in place of all but the largest values."""
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
    """The base and lam times the sum or the disjoint mean of weighted vectors; `majority` as of `ties`."""
    w = coefficients(weights, len(donors), normalize=normalize and not elect)
    own = flatten(base)
    sums = {path: weighted_sum(w, taus) for path, taus in vectors.items()}
    if elect:
        most = jnp.sign(votes(vectors, weights, len(donors))) if majority is None else jnp.asarray(majority)
        sums = {path: _agreed(vectors[path], w, total, most, normalize) for path, total in sums.items()}
    step = {path: total * jnp.asarray(lam, total.dtype) for path, total in sums.items()}
    return rebuild({path: jnp.asarray(own[path], x.dtype) + x for path, x in step.items()}, base)


def votes(vectors: Vectors, weights: Weights, count: int) -> jax.Array:
    """`[]` float32: how many more values of the weighted sums are above zero than below. Of parts they add up."""
    w = coefficients(weights, count, normalize=False)
    signs = [jnp.sign(weighted_sum(w, taus)).sum().astype(jnp.float32) for taus in vectors.values()]
    return sum(signs, jnp.zeros((), jnp.float32))


def _agreed(
    taus: Sequence[jax.Array], weights: Sequence[Any], total: jax.Array, majority: jax.Array, normalize: bool
) -> jax.Array:
    """The weighted sum, or mean, of those values whose sign is the elected one."""
    sign = jnp.where(total == 0, majority.astype(total.dtype), jnp.sign(total))
    parts = [tau * jnp.asarray(w, tau.dtype) for w, tau in zip(weights, taus)]
    agree = [(jnp.sign(part) == sign) & (part != 0) for part in parts]
    value = sum((jnp.where(a, part, 0.0) for a, part in zip(agree, parts)), jnp.zeros_like(total))
    if not normalize:
        return value
    share = sum((jnp.where(a, jnp.asarray(w, total.dtype), 0.0) for a, w in zip(agree, weights)), jnp.zeros_like(total))
    return value / jnp.where(share == 0, 1.0, share)


def check_density(density: float) -> None:
    """Refuses what is no part of a whole."""
    if not 0 < density <= 1:
        raise MergeError(f"density is {density:g}; it is the part of each leaf that is kept, above 0 and at most 1")
