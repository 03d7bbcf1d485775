"""RegMean (Jin et al., ICLR 2023): the linear layers that do, on each donor's inputs, most nearly what the donor did.

Per layer it is least squares: `W = (sum_i G_i)^-1 sum_i G_i W_i`, where `G_i` is the mean of x xᵀ over what the layer
of donor i reads (`nets.inputs.kernel_inputs`): a position's patch, for a convolution. Other leaves are averaged.

Factors for each output channel are not seen: kernels under spectral norm, or before a demodulation, are best merged in
one scale (`surgery.align.scales`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.fusion.merges.leaves import MergeError, Weights, coefficients, each_leaf, weighted_sum
from gan_jax.trees import Tree, did_you_mean, flatten

Grams = Mapping[str, Any]  # path of a kernel below `params` -> [groups, K, K]
SHRINK = 0.9  # of off-diagonals, of the paper


def gram(inputs: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """The mean of x xᵀ over rows: `[groups, rows, K]` -> `[groups, K, K]` for each kernel."""
    product = lambda x: jnp.einsum("grk,grl->gkl", x, x, precision="highest") / x.shape[1]
    return {path: product(x) for path, x in inputs.items()}


def mean_gram(batches: Iterable[Mapping[str, jax.Array]]) -> dict[str, jax.Array]:
    """The mean of the Gram matrices of batches of one size, each of which may be made when it is asked for.

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
    """Kernels by least squares on the donors' own inputs, all else by their average.

    Args:
      donors: `params` of networks of one shape.
      grams: for each donor, of its kernels `[.., K.., O]`; those without are averaged.
      weights: one for each donor; None = 1/N.
      shrink: what off-diagonals are multiplied by; 0 weighs each input by itself, 1 takes Gram matrices as they are.
      ridge: what is added to the diagonal of every donor's, as a part of the mean diagonal of all: inputs that are zero
        in all donors are averaged.

    Raises:
      MergeError: Gram matrices that do not fit the donors or each other.
    """
    if len(grams) != len(donors):
        raise MergeError(f"Gram matrices of {len(grams)} donors for {len(donors)} donors; give those of each")
    w = coefficients(weights, len(donors), normalize=True)
    for i, those in enumerate(grams):
        _check_names(those, grams[0], i, donors)

    def solve(path: str, xs: list[jax.Array], _: Any) -> jax.Array:
        if path not in grams[0]:
            return weighted_sum(w, xs)
        shape, of = xs[0].shape, [_fitting(g, path, i, xs[0]) for i, g in enumerate(grams)]
        groups, k, _ = of[0].shape
        kernels = [x.reshape(k, groups, -1).swapaxes(0, 1) for x in xs]  # [groups, K, O / groups]
        size = jnp.trace(weighted_sum(w, of), axis1=1, axis2=2) / k
        extra = jnp.where(size > 0, ridge * size, 1.0)[:, None, None]
        one = jnp.eye(k, dtype=xs[0].dtype)[None]
        of = [jnp.asarray(v, g.dtype) * (g * (shrink + (1 - shrink) * one) + extra * one) for v, g in zip(w, of)]
        right = sum(jnp.einsum("gkl,glo->gko", g, x, precision="highest") for g, x in zip(of, kernels))
        factor = jax.scipy.linalg.cho_factor(sum(of[1:], of[0]))
        return jax.scipy.linalg.cho_solve(factor, right).swapaxes(0, 1).reshape(shape)

    return each_leaf(solve, donors)


def _check_names(grams: Grams, first: Grams, i: int, donors: Sequence[Tree]) -> None:
    """Gram matrices are for leaves that exist, and for the same ones of all donors."""
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
    """The Gram matrices `[groups, K, K]` of a kernel `[.., O]`, which must fit it."""
    found = jnp.asarray(grams[path], kernel.dtype)
    k, outputs = kernel.size // kernel.shape[-1], kernel.shape[-1]
    if found.ndim != 3 or found.shape[1:] != (k, k) or outputs % found.shape[0]:
        raise MergeError(
            f"the Gram matrix of donor {i} for {path!r} is {list(found.shape)}, for a kernel {list(kernel.shape)} it must "
            f"be [groups, {k}, {k}]"
        )
    return found
