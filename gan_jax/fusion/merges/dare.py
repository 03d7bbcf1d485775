"""DARE (Yu et al., ICML 2024): task vectors with most values dropped at random, so that those of donors rarely collide.

Each leaf is masked on its own. Remaining values are divided by the probability to keep them, as in the paper. mergekit
rescales them to the leaf's sum of magnitudes instead, which is the same on average.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

from gan_jax.fusion.merges.leaves import MergeError, Weights, check_fit
from gan_jax.fusion.merges.task_vectors import Vectors, add, check_density, vectors_of, votes
from gan_jax.random_streams import path_key
from gan_jax.trees import Tree, flatten, map_with_path


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
