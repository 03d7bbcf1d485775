"""Orthogonal regularisation of a generator's kernels (Brock et al., BigGAN, 2019, equation 3)."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.trees import flatten, match

KERNELS = ("**/kernel", "kernel")  # convolutions and dense layers; tables of embeddings, norms and biases are left out


def orthogonal_penalty(params: Any, patterns: tuple[str, ...] = KERNELS) -> jax.Array:
    """Computes the sum over kernels of |W^T W * (1 - I)|^2, `[]`: the similarity of filters, without their lengths.

    W is a kernel as the matrix `[kh * kw * I, O]`, so that the products are those between its O filters. The loss takes
    `beta` times this, 1e-4 in the paper. The published PyTorch implementation adds half of its gradient, so the same
    number is half as strong there.

    Args:
      params: tree of parameters.
      patterns: patterns of the leaves; each leaf must have two axes or more.

    Raises:
      ValueError: a leaf that is no kernel, or none at all.
    """
    chosen = {path: leaf for path, leaf in flatten(params).items() if any(match(p, path) for p in patterns)}
    if not chosen:
        raise ValueError(f"no leaf is covered by {', '.join(patterns)}; the penalty needs kernels")
    if flat := [path for path, leaf in chosen.items() if leaf.ndim < 2]:
        raise ValueError(f"leaf {flat[0]!r} has {chosen[flat[0]].ndim} axes; a kernel has two or more")
    return functools.reduce(jnp.add, map(_off_diagonal, chosen.values()))


def _off_diagonal(kernel: jax.Array) -> jax.Array:
    w = kernel.reshape(-1, kernel.shape[-1])
    w = w if w.dtype.itemsize >= 4 else w.astype(jnp.float32)
    if w.shape[0] >= w.shape[1]:
        gram = w.T @ w
        return jnp.square(gram - jnp.diag(jnp.diag(gram))).sum()
    # More filters than values in a filter, as in the first layer: |W^T W| = |W W^T|, and the latter is smaller. Such filters
    # cannot all be orthogonal, so the difference does not cancel.
    return jnp.square(w @ w.T).sum() - jnp.square(jnp.square(w).sum(0)).sum()
