"""What samples have to do with each other: cosines between their features, within fixed groups of consecutive samples.

Groups are what makes the numbers independent of how a batch is cut over devices.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

TINY = 1e-12  # added to squared lengths: features that are all zeros have cosine 0, and a gradient


def in_groups(x: jax.Array, group: int) -> jax.Array:
    """`[B, ...]` -> `[B / group, group, ...]`, consecutive samples together.

    Raises:
      ValueError: the samples do not fall into such groups.
    """
    if group < 2 or x.shape[0] % group:
        raise ValueError(
            f"{x.shape[0]} samples on a device do not fall into groups of {group} that can be compared; transfer.group "
            "must be 2 or more and divide train.batch over the devices"
        )
    return x.reshape(-1, group, *x.shape[1:])


def unit(x: jax.Array) -> jax.Array:
    """Vectors of length 1 along the last axis, at least float32."""
    x = x if x.dtype.itemsize >= 4 else x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.square(x).sum(-1, keepdims=True) + TINY)


def similarities(a: jax.Array, b: jax.Array, group: int) -> jax.Array:
    """The cosine of each sample of a with each sample of b in its group, features flattened whole: `[B, group]`.

    Args:
      a, b: `[B, ...]` features of paired samples.
      group: samples that are compared with each other.
    """
    a, b = (unit(in_groups(x.reshape(x.shape[0], -1), group)) for x in (a, b))
    return jnp.einsum("nif,njf->nij", a, b).reshape(-1, group)


def diagonal(rows: jax.Array) -> jax.Array:
    """Of rows `[B, group]` of square tables: each sample with itself, `[B]`."""
    group = rows.shape[1]
    return jnp.diagonal(rows.reshape(-1, group, group), axis1=1, axis2=2).reshape(-1)


def off_diagonal(rows: jax.Array) -> jax.Array:
    """Of rows `[B, group]` of square tables: each sample with the others, in order, `[B, group - 1]`."""
    group = rows.shape[1]
    flat = rows.reshape(-1, group * group)[:, 1:]  # now whatever was on a diagonal ends a run of group + 1
    return flat.reshape(-1, group - 1, group + 1)[:, :, :-1].reshape(-1, group - 1)


def distance_consistency(now: jax.Array, old: jax.Array) -> jax.Array:
    """Mean over the others of p log(p / q), with p and q the softmax of the cosines: `[B]` (Ojha et al., 2021, eq. 3).

    That is the Kullback-Leibler divergence of a sample's similarities now from what they were, over group - 1. It is
    least, 0 with a gradient of 0, where nothing has changed.

    Args:
      now, old: `[B, group - 1]` cosines of each sample with the others.
    """
    p, q = jax.nn.log_softmax(now), jax.nn.log_softmax(old)
    return (jnp.exp(p) * (p - q)).mean(-1)


def contrast(positive: jax.Array, negatives: jax.Array, temperature: float) -> jax.Array:
    """-log of the positive's share of exp(cosine / temperature): `[B]` (Zhao et al., 2022; InfoNCE).

    Args:
      positive: `[B]` cosines that are to be large.
      negatives: `[B, n]` cosines that are to be small.
      temperature: divides them; 0.07 in the paper.
    """
    scores = jnp.concatenate([positive[:, None], negatives], axis=1) / temperature
    return -jax.nn.log_softmax(scores)[:, 0]
