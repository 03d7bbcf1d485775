"""Samples of a generator, keyed by their index, and recalibrated batch statistics."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data.convert import to_uint8
from gan_jax.nets import Pair
from gan_jax.tasks.image import draw_latents
from gan_jax.train.state import Variables

CHUNK = 128  # images in one call of the compiled generator
STATS_BATCH = 128  # latents in each batch that a run's statistics are re-estimated on

Sampler = Callable[..., np.ndarray]


def make_sampler(pair: Pair, truncation: float | None = None) -> Sampler:
    """Makes `sample(g_vars, key, n, labels=None) -> uint8 [n, H, W, C]`.

    Image i depends on the key and i only, so a larger n keeps the first images. A conditional generator takes labels
    `[n]`; without them, its classes in turn.

    Args:
      pair: of the generator.
      truncation: trades variety for quality. For StyleGAN2 it is psi, the factor of the distance of styles from their
        average, 1 = no truncation; for all others, the threshold at which latents are truncated. None = none.

    Raises:
      ValueError: the truncation is not above 0.
    """
    if truncation is not None and not truncation > 0:
        raise ValueError(f"truncation is {truncation:g}; use a number above 0 (0.5 is usual), or None for none")
    num_classes = pair.config.num_classes
    styled = truncation is not None and "map" in pair.g.parts
    threshold = None if styled else truncation

    @jax.jit
    def chunk(g_vars: Variables, key: jax.Array, index: jax.Array, labels: jax.Array | None) -> jax.Array:
        z = draw_latents(jax.vmap(jax.random.fold_in, (None, 0))(key, index), pair.config.z_dim, threshold)
        if styled:
            ws = pair.g.parts["map"](g_vars, z, labels, truncation)
            return to_uint8(pair.g.parts["synthesise"](g_vars, ws))
        return to_uint8(pair.g.apply(g_vars, z, labels)[0])

    def sample(g_vars: Variables, key: jax.Array, n: int, labels: np.ndarray | None = None) -> np.ndarray:
        if labels is not None and not num_classes:
            raise ValueError("labels were given, but this generator is unconditional")
        if num_classes:
            labels = np.arange(n) % num_classes if labels is None else np.asarray(labels)
            if labels.shape != (n,) or labels.min() < 0 or labels.max() >= num_classes:
                raise ValueError(f"labels must be {n} classes from 0 to {num_classes - 1}")
        parts = []
        for start in range(0, n, CHUNK):
            index = np.arange(start, start + CHUNK)
            chunk_labels = None if labels is None else jnp.asarray(labels[np.minimum(index, n - 1)], jnp.int32)
            parts.append(np.asarray(chunk(g_vars, key, jnp.asarray(index, jnp.int32), chunk_labels)))
        return np.concatenate(parts)[:n]

    return sample


def make_restatistics(pair: Pair, batch: int) -> Callable[[Variables, jax.Array, int], Variables]:
    """Makes `restate(g_vars, key, batches) -> g_vars` with recalibrated batch statistics.

    A moving average of weights has no batch statistics of its own. They are the mean over `batches` batches of `batch`
    fresh latents. A generator without batch norm stays as it is.
    """
    num_classes = pair.config.num_classes

    @jax.jit
    def statistics(g_vars: Variables, key: jax.Array, index: jax.Array) -> Variables:
        z = draw_latents(jax.vmap(jax.random.fold_in, (None, 0))(key, index), pair.config.z_dim)
        return pair.g.statistics(g_vars, z, index % num_classes if num_classes else None)

    def restate(g_vars: Variables, key: jax.Array, batches: int) -> Variables:
        if batches == 0 or "batch_stats" not in g_vars:
            return g_vars
        rows = [
            statistics(g_vars, key, jnp.arange(i * batch, (i + 1) * batch, dtype=jnp.int32)) for i in range(batches)
        ]
        mean = jax.tree_util.tree_map(lambda *leaves: sum(leaves[1:], leaves[0]) / batches, *rows)
        return {**g_vars, "batch_stats": mean}

    return restate
