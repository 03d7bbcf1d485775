"""Merges by statistics of the donors: diagonal Fisher information, and the inputs of linear layers (RegMean)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
from gan_jax.trees import Flat, Tree, did_you_mean, flatten

# ----------------------------------------------------------------------------------------------------------------------
# Merges that weigh each value of a donor by its diagonal Fisher information.
#
# `transfer.fisher.fisher` computes such trees: the mean of squared gradients of single examples. Here they are arguments.

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


# ----------------------------------------------------------------------------------------------------------------------
# RegMean (Jin et al., ICLR 2023): linear layers whose outputs on each donor's inputs are closest to the donor's.
#
# Per layer this is least squares: `W = (sum_i G_i)^-1 sum_i G_i W_i`, where `G_i` is the mean of x xᵀ over the inputs of
# donor i's layer (`nets.inside.kernel_inputs`); for a convolution x is a patch. Other leaves are averaged.
#
# Gram matrices do not include factors per output channel. So kernels with spectral norm, or before a demodulation, should
# be in one scale before they are merged (`surgery.align.scales`).

Grams = Mapping[str, Any]  # path of a kernel below `params` -> [groups, K, K]
SHRINK = 0.9  # of off-diagonals, as in the paper


def gram(inputs: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Computes the mean of x xᵀ over rows: `[groups, rows, K]` -> `[groups, K, K]` for each kernel."""

    def product(x: jax.Array) -> jax.Array:
        return jnp.einsum("grk,grl->gkl", x, x, precision="highest") / x.shape[1]

    return {path: product(x) for path, x in inputs.items()}


def mean_gram(batches: Iterable[Mapping[str, jax.Array]]) -> dict[str, jax.Array]:
    """Averages the Gram matrices of batches of one size; `batches` may be lazy.

    Raises:
      MergeError: there is no batch.
    """
    total: dict[str, jax.Array] = {}
    count = 0
    for batch in batches:
        total = {path: total[path] + x for path, x in batch.items()} if count else dict(batch)
        count += 1
    if not count:
        raise MergeError("no batch to take Gram matrices of; give at least one")
    return {path: x / count for path, x in total.items()}


def regmean(
    donors: Sequence[Tree],
    grams: Sequence[Grams],
    weights: Weights = None,
    *,
    shrink: float = SHRINK,
    ridge: float = 1e-6,
) -> Tree:
    """Merges kernels by least squares on the donors' inputs, and averages all other leaves.

    Args:
      donors: `params` of networks of one shape.
      grams: Gram matrices of each donor's kernels `[.., K.., O]`; kernels without one are averaged.
      weights: one for each donor; None = 1/N.
      shrink: factor of the off-diagonals; 0 treats inputs as independent, 1 leaves Gram matrices unchanged.
      ridge: added to every donor's diagonal, as a fraction of the mean diagonal of all; weights of inputs that are zero
        in all donors are averaged.

    Raises:
      MergeError: Gram matrices that do not fit the donors or each other.
    """
    if len(grams) != len(donors):
        raise MergeError(f"Gram matrices of {len(grams)} donors for {len(donors)} donors; give those of each")
    w = coefficients(weights, len(donors), normalize=True)
    for i, matrices in enumerate(grams):
        _check_names(matrices, grams[0], i, donors)

    def solve(path: str, xs: list[jax.Array], _: Any) -> jax.Array:
        if path not in grams[0]:
            return weighted_sum(w, xs)
        shape, matrices = xs[0].shape, [_fitting(g, path, i, xs[0]) for i, g in enumerate(grams)]
        groups, k, _ = matrices[0].shape
        kernels = [x.reshape(k, groups, -1).swapaxes(0, 1) for x in xs]  # [groups, K, O / groups]
        size = jnp.trace(weighted_sum(w, matrices), axis1=1, axis2=2) / k
        ridges = jnp.where(size > 0, ridge * size, 1.0)[:, None, None]
        identity = jnp.eye(k, dtype=xs[0].dtype)[None]
        matrices = [
            jnp.asarray(v, g.dtype) * (g * (shrink + (1 - shrink) * identity) + ridges * identity)
            for v, g in zip(w, matrices)
        ]
        right = sum(jnp.einsum("gkl,glo->gko", g, x, precision="highest") for g, x in zip(matrices, kernels))
        factor = jax.scipy.linalg.cho_factor(sum(matrices[1:], matrices[0]))
        return jax.scipy.linalg.cho_solve(factor, right).swapaxes(0, 1).reshape(shape)

    return each_leaf(solve, donors)


def _check_names(grams: Grams, first: Grams, i: int, donors: Sequence[Tree]) -> None:
    """Checks that Gram matrices belong to existing leaves, the same ones in all donors."""
    leaves = flatten(donors[0])
    if strange := [path for path in grams if path not in leaves]:
        raise MergeError(
            f"donor {i} has a Gram matrix for {strange[0]!r}, which is no leaf{did_you_mean(strange[0], leaves)}"
        )
    if lacking := [path for path in first if path not in grams]:
        raise MergeError(
            f"donor {i} has no Gram matrix for {lacking[0]!r}, donor 0 has one; give those of the same kernels"
        )
    if extra := [path for path in grams if path not in first]:
        raise MergeError(
            f"donor 0 has no Gram matrix for {extra[0]!r}, donor {i} has one; give those of the same kernels"
        )


def _fitting(grams: Grams, path: str, i: int, kernel: jax.Array) -> jax.Array:
    """Returns the Gram matrices `[groups, K, K]` of a kernel `[.., O]`, after a check of their shape."""
    matrices = jnp.asarray(grams[path], kernel.dtype)
    k, outputs = kernel.size // kernel.shape[-1], kernel.shape[-1]
    if matrices.ndim != 3 or matrices.shape[1:] != (k, k) or outputs % matrices.shape[0]:
        raise MergeError(
            f"the Gram matrix of donor {i} for {path!r} is {list(matrices.shape)}, for a kernel {list(kernel.shape)} it must "
            f"be [groups, {k}, {k}]"
        )
    return matrices
