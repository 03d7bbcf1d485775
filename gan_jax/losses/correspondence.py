"""Cross-sample similarities: cosines between features of samples, within fixed groups of consecutive samples.

The groups make the values independent of how a batch is split over devices.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

TINY = 1e-12  # added to squared lengths: features that are all zeros have cosine 0, and a gradient


def in_groups(x: jax.Array, group: int) -> jax.Array:
    """Splits samples into groups of consecutive ones: `[B, ...]` -> `[B / group, group, ...]`.

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
    """Scales vectors along the last axis to length 1, in at least float32."""
    x = x if x.dtype.itemsize >= 4 else x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.square(x).sum(-1, keepdims=True) + TINY)


def similarities(a: jax.Array, b: jax.Array, group: int) -> jax.Array:
    """Computes the cosine of each sample of a with each sample of b in its group, over flattened features: `[B, group]`.

    Args:
      a, b: `[B, ...]` features of paired samples.
      group: number of samples that are compared with each other.
    """
    a, b = (unit(in_groups(x.reshape(x.shape[0], -1), group)) for x in (a, b))
    return jnp.einsum("nif,njf->nij", a, b).reshape(-1, group)


def diagonal(rows: jax.Array) -> jax.Array:
    """Selects each sample's value with itself from rows `[B, group]` of square tables: `[B]`."""
    group = rows.shape[1]
    return jnp.diagonal(rows.reshape(-1, group, group), axis1=1, axis2=2).reshape(-1)


def off_diagonal(rows: jax.Array) -> jax.Array:
    """Selects each sample's values with the others, in order, from rows `[B, group]` of square tables: `[B, group - 1]`."""
    group = rows.shape[1]
    flat = rows.reshape(-1, group * group)[:, 1:]  # now each diagonal value ends a run of group + 1
    return flat.reshape(-1, group - 1, group + 1)[:, :, :-1].reshape(-1, group - 1)


def distance_consistency(now: jax.Array, old: jax.Array) -> jax.Array:
    """Computes the mean over others of p log(p / q), p and q the softmax of cosines: `[B]` (Ojha et al., 2021, eq. 3).

    This is the Kullback-Leibler divergence of a sample's similarities from their old values, over group - 1. Without a
    change it is 0, with a gradient of 0.

    Args:
      now, old: `[B, group - 1]` cosines of each sample with the others.
    """
    p, q = jax.nn.log_softmax(now), jax.nn.log_softmax(old)
    return (jnp.exp(p) * (p - q)).mean(-1)


def contrast(positive: jax.Array, negatives: jax.Array, temperature: float) -> jax.Array:
    """Computes -log of the positive's fraction of exp(cosine / temperature): `[B]` (Zhao et al., 2022; InfoNCE).

    Args:
      positive: `[B]` cosines to increase.
      negatives: `[B, n]` cosines to decrease.
      temperature: divides them; 0.07 in the paper.
    """
    scores = jnp.concatenate([positive[:, None], negatives], axis=1) / temperature
    return -jax.nn.log_softmax(scores)[:, 0]
