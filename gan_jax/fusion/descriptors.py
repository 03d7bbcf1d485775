"""Descriptors of generators: image statistics over the same latents, of which attention makes its keys."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

GRID = 4  # cells along a side
LEAST = 1e-4  # of images in [-1, 1]: smaller differences count as equal, such as those of a copy with permuted channels


def describe(images: jax.Array, grid: int = GRID) -> jax.Array:
    """Computes means, then standard deviations, of every grid cell and channel over examples and pixels: `[2 G G C]`.

    Args:
      images: `[N, H, W, C]` float in [-1, 1].
      grid: G, cells along a side; at most the number of pixels.
    """
    height, width = (np.linspace(0, n, min(grid, n) + 1).astype(int) for n in images.shape[1:3])
    cells = [
        images[:, top:bottom, left:right].astype(jnp.float32)
        for top, bottom in zip(height[:-1], height[1:], strict=True)
        for left, right in zip(width[:-1], width[1:], strict=True)
    ]
    parts = [cell.mean((0, 1, 2)) for cell in cells] + [cell.std((0, 1, 2)) for cell in cells]
    return jnp.concatenate(parts)


def standardised(rows: jax.Array) -> jax.Array:
    """Standardises descriptors `[N, M]` over N generators: zero mean and unit deviation in each of the M numbers.

    A number in which all generators agree is 0 for all. A single generator's descriptor is returned unchanged.
    """
    if len(rows) < 2:
        return rows
    return (rows - rows.mean(0, keepdims=True)) / jnp.maximum(rows.std(0, keepdims=True), LEAST)
