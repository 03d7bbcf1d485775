"""How far two sets of points are from each other, each point from its nearest: a cheap stand-in for the earth mover's."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def two_way_nearest(a: jax.Array, b: jax.Array) -> jax.Array:
    """`[]`: the mean squared distance of points to their nearest of the other set, over the dimension, both ways added.

        mean_i min_j |a_i - b_j|^2 / D + mean_j min_i |a_i - b_j|^2 / D

    Gradients reach both; among equally near points the first counts.

    Args:
      a: [N, D].
      b: [M, D].
    """
    centre = b.mean(0, keepdims=True)  # far from the origin products would lose what tells points apart
    still_a, still_b = jax.lax.stop_gradient((a - centre, b - centre))
    product = jnp.dot(still_a, still_b.T, precision=jax.lax.Precision.HIGHEST)
    # Good enough to say which is nearest; the distance itself, where a small difference counts, is taken of pairs.
    distances = jnp.square(still_a).sum(1)[:, None] + jnp.square(still_b).sum(1)[None] - 2 * product
    there = jnp.square(a - b[distances.argmin(1)]).mean(1).mean()
    back = jnp.square(a[distances.argmin(0)] - b).mean(1).mean()
    return there + back
