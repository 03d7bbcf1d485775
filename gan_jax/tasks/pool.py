"""Image pools (Shrivastava et al., 2017; CycleGAN): D is shown earlier translations of G half of the time.

A pool is a part of the state's extras, so that it is in checkpoints and the same on any number of devices: the images of
all devices are gathered, and pass the pool in the order of their global indices, each with its own key.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.random_streams import Purpose
from gan_jax.train.context import StepContext

Pool = dict[str, jax.Array]  # {"images": [size, H, W, C], "count": [] int32, how many are stored}


def empty_pool(size: int, shape: tuple[int, ...]) -> Pool:
    """Makes a pool of `size` images of a shape `(H, W, C)` that holds none yet; `{}` where the size is 0."""
    if size == 0:
        return {}
    return {"images": jnp.zeros((size, *shape), jnp.float32), "count": jnp.zeros((), jnp.int32)}


def query(pool: Pool, images: jax.Array, keys: jax.Array) -> tuple[Pool, jax.Array]:
    """Passes images through a pool, one at a time: the new pool, and the images to show D, `[N, H, W, C]`.

    While the pool is not full, an image is stored and returned. Afterwards p is drawn uniformly; where p > 0.5, a stored
    image is returned and replaced by the new one, else the new one is returned and not stored.

    Args:
      pool: of `empty_pool`.
      images: `[N, H, W, C]`.
      keys: `[N]`, one for each image.
    """
    if not pool:
        return pool, images
    size = len(pool["images"])

    def one(pool: Pool, image_and_key: tuple[jax.Array, jax.Array]) -> tuple[Pool, jax.Array]:
        image, key = image_and_key
        p_key, place_key = jax.random.split(key)
        count, full = pool["count"], pool["count"] >= size
        place = jnp.where(full, jax.random.randint(place_key, (), 0, size), jnp.minimum(count, size - 1))
        swaps = full & (jax.random.uniform(p_key) > 0.5)
        stored = pool["images"][place]
        kept = jnp.where(swaps | ~full, image, stored)
        pool = {"images": pool["images"].at[place].set(kept), "count": jnp.minimum(count + 1, size)}
        return pool, jnp.where(swaps, stored, image)

    return jax.lax.scan(one, pool, (images.astype(pool["images"].dtype), keys))


def gathered(ctx: StepContext, batch: int, x: jax.Array) -> jax.Array:
    """The rows `[batch, ...]` of all devices in the order of their global indices, from this device's `x [B, ...]`.

    Args:
      ctx: has the indices of the rows, and the mean over devices.
      batch: number of rows over all devices.
      x: constant for gradients.
    """
    devices = batch // len(ctx.index)
    if devices == 1:
        return x
    placed = jnp.zeros((batch, *x.shape[1:]), x.dtype).at[ctx.index].set(x)
    return ctx.sync(placed) * devices


def shown(ctx: StepContext, batch: int, pool: Pool, images: jax.Array, use: Purpose) -> tuple[Pool, jax.Array]:
    """Passes this device's images and those of all others through a pool: the new pool, and `[batch, H, W, C]` to show D.

    Args:
      ctx: of the update.
      batch: images over all devices.
      pool: of the state.
      images: `[B, H, W, C]` of this device, constant for gradients.
      use: purpose of the draws.
    """
    return query(pool, gathered(ctx, batch, images), ctx.keys(use, jnp.arange(batch)))


def own_rows(ctx: StepContext, rows: Any) -> Any:
    """This device's part `[B, ...]` of rows over all devices."""
    return jax.tree_util.tree_map(lambda x: x[ctx.index], rows)
