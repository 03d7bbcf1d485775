"""Two-way nearest-neighbour distance of two sets of points, a cheap replacement of the earth mover's distance."""

from __future__ import annotations

import jax
import jax.numpy as jnp


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
