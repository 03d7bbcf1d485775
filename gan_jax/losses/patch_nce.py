"""PatchNCE (Park et al., 2020): a patch of the output is to say which patch of the input it comes from."""

from __future__ import annotations

import jax
import jax.numpy as jnp

SELF = -10.0  # the score of a patch as its own negative, before the division by the temperature


def patch_nce(queries: jax.Array, keys: jax.Array, temperature: float = 0.07, all_negatives: bool = False) -> jax.Array:
    """Computes each patch's cross entropy of its own key among all keys: `[N, P]`.

    Keys get no gradient.

    Args:
      queries: `[N, P, D]` vectors of the output's patches, of length 1.
      keys: `[N, P, D]` vectors of the input's patches at the same places.
      temperature: divides the scores; 0.07 in the paper.
      all_negatives: whether the keys of all images are negatives; else those of the patch's own image.
    """
    n, p, dim = queries.shape
    keys = jax.lax.stop_gradient(keys)
    positive = (queries * keys).sum(-1)
    groups = 1 if all_negatives else n
    scores = jnp.einsum("gpd,gqd->gpq", queries.reshape(groups, -1, dim), keys.reshape(groups, -1, dim))
    scores = jnp.where(jnp.eye(scores.shape[1], dtype=bool)[None], SELF, scores)
    logits = jnp.concatenate([positive.reshape(groups, -1, 1), scores], axis=-1) / temperature
    return -jax.nn.log_softmax(logits)[..., 0].reshape(n, p)
