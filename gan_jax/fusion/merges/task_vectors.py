"""Task vectors `tau_i = donor_i - base`: added (task arithmetic), trimmed where signs agree (TIES), or thinned (DARE)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

from gan_jax.fusion.merges.leaves import (
    MergeError,
    Weights,
    check_fit,
    coefficients,
    float_leaves,
    rebuild,
    weighted_sum,
)
from gan_jax.random_streams import path_key
from gan_jax.trees import Tree, flatten, map_with_path

# ----------------------------------------------------------------------------------------------------------------------
# Task arithmetic (a sum) and TIES (trimmed, where signs agree).
#
# Task arithmetic (Ilharco et al., 2023) and TIES (Yadav et al., NeurIPS 2023). Both are linear in `lam`, and `lam=0` gives
# the base. Each leaf is trimmed on its own, as in mergekit; the code of TIES trims all leaves as one vector.

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


# ----------------------------------------------------------------------------------------------------------------------
# DARE (Yu et al., ICML 2024): task vectors with most values dropped at random, so that those of donors rarely collide.
#
# Each leaf is masked on its own. Remaining values are divided by the probability to keep them, as in the paper. mergekit
# rescales them to the leaf's sum of magnitudes instead, which is the same on average.


def dare(
    base: Tree,
    donors: Sequence[Tree],
    weights: Weights = None,
    *,
    key: jax.Array | None = None,
    masks: Sequence[Tree] | None = None,
    density: float = 0.1,
    combine: Literal["linear", "ties"] = "linear",
    lam: float | jax.Array = 1.0,
    normalize: bool = False,
    majority: Any = None,
) -> Tree:
    """Merges task vectors after dropout: keeps each value with probability `density` and divides it by `density`.

    Args:
      base: tree.
      donors: trees of its shape.
      weights: one for each donor; None = 1.
      key: typed PRNG key that masks are drawn from (`draw_masks`).
      masks: trees of bool in its place, one for each donor.
      density: probability to keep; p of the paper is `1 - density`.
      combine: "linear" adds the remaining values; "ties" elects signs first and adds values that agree.
      lam: factor of the sum.
      normalize: divide by the weights' sum (of those that agree).
      majority: as in `ties`.

    Raises:
      MergeError: neither key nor masks, or both; masks that do not fit; a density that is not in (0, 1].
    """
    thinned = _thinned(base, donors, key, masks, density)
    return add(base, donors, thinned, weights, lam, normalize, elect=combine == "ties", majority=majority)


def dare_votes(
    base: Tree, donors: Sequence[Tree], weights: Weights = None, *, key: jax.Array, density: float = 0.1
) -> jax.Array:
    """Computes `task_vectors.votes` of the remaining values."""
    return votes(_thinned(base, donors, key, None, density), weights, len(donors))


def _thinned(
    base: Tree, donors: Sequence[Tree], key: jax.Array | None, masks: Sequence[Tree] | None, density: float
) -> Vectors:
    """Computes the task vectors after dropout."""
    check_density(density)
    vectors = vectors_of(base, donors)
    if (key is None) == (masks is None):
        raise MergeError("DARE takes either a key to draw masks from or masks; give one of the two")
    if key is not None:
        masks = draw_masks(key, donors, density)
    assert masks is not None
    if len(masks) != len(donors):
        raise MergeError(f"{len(masks)} masks for {len(donors)} donors; give one for each")
    flat_masks = [flatten(mask) for mask in masks]
    for i, mask in enumerate(flat_masks):
        check_fit(mask, flatten(base), f"the mask of donor {i}", "the base", floats=True)
    return {
        path: [jnp.where(jnp.asarray(flat_masks[i][path], bool), tau / density, 0.0) for i, tau in enumerate(taus)]
        for path, taus in vectors.items()
    }


def draw_masks(key: jax.Array, donors: Sequence[Tree], density: float) -> list[Tree]:
    """Draws a tree of bool per donor, True with probability `density`; draws depend on key, donor and path only."""

    def draw(i: int) -> Any:
        donor_key = jax.random.fold_in(key, i)

        def leaf(path: str) -> jax.Array:
            return path_key(donor_key, path)

        return lambda path, x: jax.random.bernoulli(leaf(path), density, x.shape)

    return [map_with_path(draw(i), donor) for i, donor in enumerate(donors)]
