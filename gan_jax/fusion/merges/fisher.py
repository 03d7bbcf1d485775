"""Merges that weigh each value of a donor by its diagonal Fisher information.

`transfer.fisher.fisher` computes such trees: the mean of squared gradients of single examples. Here they are arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.fusion.merges.leaves import (
    MergeError,
    Weights,
    check_fit,
    coefficients,
    each_leaf,
    float_leaves,
    weighted_sum,
)
from gan_jax.trees import Flat, Tree, flatten

FLOOR = 1e-6  # of Fisher information, from the code of Matena & Raffel


def fisher_merge(
    donors: Sequence[Tree],
    fishers: Sequence[Tree],
    weights: Weights = None,
    *,
    floor: float = FLOOR,
    normalize: bool = False,
) -> Tree:
    """Computes `sum_i w_i F_i donor_i / sum_i w_i F_i` (Matena & Raffel, NeurIPS 2022).

    Args:
      donors: trees of one shape.
      fishers: a tree for each donor, of its shape.
      weights: one for each donor; None = 1/N. Only their ratios matter.
      floor: lower bound of the information, above zero. Values below it in all donors are averaged.
      normalize: first divide each donor's information by its mean over all leaves. This compares donors whose losses
        have different sizes, and relates the floor to the mean.

    Raises:
      MergeError: information that does not fit the donors, or a floor of zero.
    """
    if not floor > 0:
        raise MergeError(f"floor is {floor:g}, and where no donor has information there would be 0 / 0; use {FLOOR:g}")
    information = _of_donors(donors, fishers, normalize)
    w = coefficients(weights, len(donors), normalize=True)

    def mean(path: str, xs: list[jax.Array], _: Any) -> jax.Array:
        f = [jnp.maximum(jnp.asarray(of[path], xs[0].dtype), floor) for of in information]
        total = weighted_sum(w, f)
        return sum(((jnp.asarray(v, x.dtype) * g / total) * x for v, g, x in zip(w, f, xs)), jnp.zeros_like(xs[0]))

    return each_leaf(mean, donors)


def gradient_matching(
    base: Tree,
    donors: Sequence[Tree],
    fishers: Sequence[Tree],
    weights: Weights = None,
    *,
    base_fisher: Tree | None = None,
    floor: float = FLOOR,
) -> Tree:
    """Computes `base + sum_i a_i (H_0 + H_i) / H (donor_i - base)` with `H = H_0 + sum_j a_j H_j` (Daheim et al., ICLR 2024).

    This minimises `H_0 (x - base)^2 / 2 + sum_i a_i l_i(x)`, where donor i minimises the first term plus its own loss l_i of
    constant curvature H_i. Special cases: `H_i = 0` is task arithmetic with the weights a, `H_0 = 0` is
    the Fisher merge, and equal information everywhere with weights that sum to 1 is the weighted average.

    Args:
      base: tree.
      donors: trees of its shape, each fine-tuned from the base.
      fishers: H_i, a tree for each donor, of its shape.
      weights: a, one for each donor, not normalised; None = 1/N. The paper's sum of all losses has a = 1 for each.
      base_fisher: H_0; None = zero.
      floor: lower bound of H_0, as a prior. Zero is allowed; where H is zero the step is task arithmetic's.

    Raises:
      MergeError: information that does not fit the donors or the base, or a floor below zero.
    """
    if not floor >= 0:
        raise MergeError(f"floor is {floor:g}; it must not be negative")
    information = _of_donors(donors, fishers, False)
    prior: Flat | None = None if base_fisher is None else flatten(base_fisher)
    if prior is not None:
        check_fit(prior, flatten(base), "the Fisher information of the base", "the base", floats=True)
    w = coefficients(weights, len(donors), normalize=False, missing=1 / max(len(donors), 1))

    def step(path: str, xs: list[jax.Array], origin: jax.Array | None) -> jax.Array:
        assert origin is not None
        f = [jnp.asarray(of[path], origin.dtype) for of in information]
        f0 = jnp.maximum(jnp.zeros_like(origin) if prior is None else jnp.asarray(prior[path], origin.dtype), floor)
        total = f0 + weighted_sum(w, f)
        ratio = [jnp.where(total == 0, 1.0, (f0 + g) / jnp.where(total == 0, 1.0, total)) for g in f]
        return origin + weighted_sum(w, [r * (x - origin) for r, x in zip(ratio, xs)])

    return each_leaf(step, donors, base)


def _of_donors(donors: Sequence[Tree], fishers: Sequence[Tree], normalize: bool) -> list[Flat]:
    """Flattens each donor's information, and checks that it fits the donor."""
    if len(fishers) != len(donors):
        raise MergeError(f"{len(fishers)} trees of Fisher information for {len(donors)} donors; give one for each")
    out = []
    for i, (donor, fisher) in enumerate(zip(donors, fishers)):
        check_fit(flatten(fisher), flatten(donor), f"the Fisher information of donor {i}", "the donor", floats=True)
        flat = {path: xs[0] for path, (xs, _) in float_leaves([fisher]).items()}
        if normalize:
            dtype = jax.dtypes.canonicalize_dtype(np.float64)
            mean = sum(x.sum().astype(dtype) for x in flat.values()) / sum(x.size for x in flat.values())
            flat = {path: x / jnp.where(mean > 0, mean, 1.0).astype(x.dtype) for path, x in flat.items()}
        out.append(flat)
    return out
