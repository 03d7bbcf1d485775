"""Weighted averages of networks (model soups, Wortsman et al., 2022), and merged collections other than parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gan_jax.fusion.merges.leaves import MergeError, Weights, coefficients, each_leaf, weighted_sum
from gan_jax.trees import Tree, did_you_mean

AVERAGED = ("batch_stats", "moving")  # collections of running statistics


def average(donors: Sequence[Tree], weights: Weights = None, *, normalize: bool = True) -> Tree:
    """Computes `sum_i w_i donor_i` of each leaf.

    Args:
      donors: trees of one shape.
      weights: one for each donor, may be traced; None = 1/N.
      normalize: divide them by their sum; False = use them unchanged, also negative ones.
    """
    w = coefficients(weights, len(donors), normalize=normalize and weights is not None, missing=1 / max(len(donors), 1))
    return each_leaf(lambda path, xs, _: weighted_sum(w, xs), donors)


def merge_collections(
    donors: Sequence[Mapping[str, Tree]], base: Mapping[str, Tree] | None = None, weights: Weights = None
) -> dict[str, Any]:
    """Merges every collection of the networks' variables except `params`.

    The result is a starting point for re-estimation. Batch statistics and the average w are averaged, but those of the
    merged network differ: recalibrate them on data before evaluation. All other collections are the base's (the first
    donor's). Spectral norm vectors are known up to their sign only, so a mean of two could vanish
    (`surgery.align.scales.singular_vectors` computes those of the merged kernels). A mean of stored noise is weaker noise.

    Args:
      donors: full variables, `{"params": .., "batch_stats": ..}`.
      base: full variables too; None = the first donor.
      weights: one for each donor, normalised; None = 1/N.

    Raises:
      MergeError: a donor lacks a collection.
    """
    like = donors[0] if base is None else base
    out: dict[str, Any] = {}
    for name in (name for name in like if name != "params"):
        for i, donor in enumerate(donors):
            if name not in donor:
                raise MergeError(
                    f"donor {i} has no collection {name!r}{did_you_mean(name, donor)}; give whole variables"
                )
        out[name] = average([donor[name] for donor in donors], weights) if name in AVERAGED else like[name]
    return out
