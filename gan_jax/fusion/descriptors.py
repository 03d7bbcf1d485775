"""What tells generators apart by the images that they make of the same latents: numbers that keys of attention are made of."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

GRID = 4  # cells along a side
LEAST = 1e-4  # of images in [-1, 1]: what differs by less is alike, such as a copy with its channels in another order


def describe(images: jax.Array, grid: int = GRID) -> jax.Array:
    """Means, then deviations, over examples and pixels of every cell of a grid, by channel: `[2 G G C]`.

    Args:
      images: `[N, H, W, C]` float in [-1, 1].
      grid: G, cells along a side; as many as there are pixels where that is fewer.
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
    """Descriptors `[N, M]` of N generators with each number's mean over them taken away, in units of its deviation.

    A number in which all are alike is 0 for all. One generator alone is left as it is.
    """
    if len(rows) < 2:
        return rows
    return (rows - rows.mean(0, keepdims=True)) / jnp.maximum(rows.std(0, keepdims=True), LEAST)
