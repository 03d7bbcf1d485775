"""Spatial correlations within feature maps, and across maps at one position (RSSA; Xiao et al., 2022)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gan_jax.losses.correspondence import in_groups, off_diagonal, unit


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
