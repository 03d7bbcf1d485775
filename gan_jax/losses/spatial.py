"""What places within maps, and the same place of several maps, have to do with each other (RSSA; Xiao et al., 2022)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gan_jax.losses.correspondence import in_groups, off_diagonal, unit


def tiles(x: jax.Array) -> jax.Array:
    """The four quarters of maps: `[B, H, W, C]` -> `[B, 4, H/2 * W/2, C]`."""
    b, h, w, c = x.shape
    return x.reshape(b, 2, h // 2, 2, w // 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, 4, -1, c)


def centre(x: jax.Array) -> jax.Array:
    """A window of half the size in the middle of maps: `[B, H, W, C]` -> `[B, 1, H/2 * W/2, C]`."""
    b, h, w, c = x.shape
    return x[:, h // 4 : h // 4 + h // 2, w // 4 : w // 4 + w // 2].reshape(b, 1, -1, c)


def self_correlation(windows: jax.Array) -> jax.Array:
    """The cosine of each place with each in its window: `[B, n, P, C]` -> `[B, n, P, P]`."""
    u = unit(windows)
    return jnp.einsum("bnpc,bnqc->bnpq", u, u)


def smooth_l1(a: jax.Array, b: jax.Array) -> jax.Array:
    """Half the square of differences up to 1, beyond that their size less one half: of the same shape."""
    size = jnp.abs(a - b)
    return jnp.where(size < 1, jnp.square(a - b) / 2, size - 0.5)


def self_correlation_distance(now: jax.Array, old: jax.Array) -> jax.Array:
    """How far correlations within maps have moved: `[B]`, the mean over the quarters plus the mean over the centre.

    Args:
      now, old: `[B, H, W, C]`, height and width multiples of 4, or 2.
    """
    parts = [
        smooth_l1(self_correlation(cut(now)), self_correlation(cut(old))).mean((1, 2, 3)) for cut in (tiles, centre)
    ]
    return parts[0] + parts[1]


def cross_correlation(x: jax.Array, group: int) -> jax.Array:
    """At each place, the softmax over the others of a group of the cosine with them: `[B, H, W, C]` -> `[B, H * W, g - 1]`."""
    b, c = x.shape[0], x.shape[-1]
    u = in_groups(unit(x.reshape(b, -1, c)), group)
    rows = jnp.einsum("nipc,njpc->npij", u, u)
    others = off_diagonal(rows.reshape(-1, group)).reshape(len(u), -1, group, group - 1)
    return jax.nn.softmax(others).swapaxes(1, 2).reshape(b, -1, group - 1)


def cross_correlation_distance(now: jax.Array, old: jax.Array, group: int) -> jax.Array:
    """How far correlations between maps have moved: `[B]`, the mean absolute difference.

    Where nothing has moved there is a kink: the value is 0, and rounding decides its slope.

    Args:
      now, old: `[B, H, W, C]` maps of the same latents.
      group: consecutive samples that are compared with each other.
    """
    return jnp.abs(cross_correlation(now, group) - cross_correlation(old, group)).mean((1, 2))
