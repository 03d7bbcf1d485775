"""Similarities between samples, between places of maps, and distances between sets of points."""

from __future__ import annotations

import jax
import jax.numpy as jnp

# ----------------------------------------------------------------------------------------------------------------------
# Cross-sample similarities: cosines between features of samples, within fixed groups of consecutive samples.
#
# The groups make the values independent of how a batch is split over devices.

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


# ----------------------------------------------------------------------------------------------------------------------
# Spatial correlations within feature maps, and across maps at one position (RSSA; Xiao et al., 2022).


def tiles(x: jax.Array) -> jax.Array:
    """Splits maps into their four quarters: `[B, H, W, C]` -> `[B, 4, H/2 * W/2, C]`."""
    b, h, w, c = x.shape
    return x.reshape(b, 2, h // 2, 2, w // 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, 4, -1, c)


def centre(x: jax.Array) -> jax.Array:
    """Cuts a window of half the size from the centre of maps: `[B, H, W, C]` -> `[B, 1, H/2 * W/2, C]`."""
    b, h, w, c = x.shape
    return x[:, h // 4 : h // 4 + h // 2, w // 4 : w // 4 + w // 2].reshape(b, 1, -1, c)


def self_correlation(windows: jax.Array) -> jax.Array:
    """Computes the cosine of each position with each in its window: `[B, n, P, C]` -> `[B, n, P, P]`."""
    u = unit(windows)
    return jnp.einsum("bnpc,bnqc->bnpq", u, u)


def smooth_l1(a: jax.Array, b: jax.Array) -> jax.Array:
    """Computes the smooth L1 distance: half the square of differences up to 1, above that their size minus one half."""
    size = jnp.abs(a - b)
    return jnp.where(size < 1, jnp.square(a - b) / 2, size - 0.5)


def self_correlation_distance(now: jax.Array, old: jax.Array) -> jax.Array:
    """Computes the change of correlations within maps: `[B]`, the mean over the quarters plus the mean over the centre.

    Args:
      now, old: `[B, H, W, C]`, height and width multiples of 4, or 2.
    """
    parts = [
        smooth_l1(self_correlation(cut(now)), self_correlation(cut(old))).mean((1, 2, 3)) for cut in (tiles, centre)
    ]
    return parts[0] + parts[1]


def cross_correlation(x: jax.Array, group: int) -> jax.Array:
    """Computes the softmax of cosines with the group's other maps at each position: `[B, H, W, C]` -> `[B, H * W, g - 1]`."""
    b, c = x.shape[0], x.shape[-1]
    u = in_groups(unit(x.reshape(b, -1, c)), group)
    rows = jnp.einsum("nipc,njpc->npij", u, u)
    cosines = off_diagonal(rows.reshape(-1, group)).reshape(len(u), -1, group, group - 1)
    return jax.nn.softmax(cosines).swapaxes(1, 2).reshape(b, -1, group - 1)


def cross_correlation_distance(now: jax.Array, old: jax.Array, group: int) -> jax.Array:
    """Computes the change of correlations between maps: `[B]`, the mean absolute difference.

    Without a change the value is 0, at a kink: rounding decides the gradient there.

    Args:
      now, old: `[B, H, W, C]` maps of the same latents.
      group: number of consecutive samples that are compared.
    """
    return jnp.abs(cross_correlation(now, group) - cross_correlation(old, group)).mean((1, 2))


# ----------------------------------------------------------------------------------------------------------------------
# Two-way nearest-neighbour distance of two sets of points, a cheap replacement of the earth mover's distance.


def two_way_nearest(a: jax.Array, b: jax.Array) -> jax.Array:
    """Computes the mean squared distance of points to their nearest in the other set, over D, summed over both ways: `[]`.

        mean_i min_j |a_i - b_j|^2 / D + mean_j min_i |a_i - b_j|^2 / D

    Both sets get gradients; among equally near points the first counts.

    Args:
      a: [N, D].
      b: [M, D].
    """
    centre = b.mean(0, keepdims=True)  # far from the origin, products would lose the differences of points
    still_a, still_b = jax.lax.stop_gradient((a - centre, b - centre))
    product = jnp.dot(still_a, still_b.T, precision=jax.lax.Precision.HIGHEST)
    # Precise enough to select the nearest; the distances themselves are computed from differences of pairs.
    distances = jnp.square(still_a).sum(1)[:, None] + jnp.square(still_b).sum(1)[None] - 2 * product
    there = jnp.square(a - b[distances.argmin(1)]).mean(1).mean()
    back = jnp.square(a[distances.argmin(0)] - b).mean(1).mean()
    return there + back
