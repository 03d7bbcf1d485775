"""Path lengths of StyleGAN2 (Karras et al., 2020): the change of an image with its styles."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp


def path_lengths(synthesise: Callable[[jax.Array], jax.Array], ws: jax.Array, noise: jax.Array) -> jax.Array:
    """Computes the root of the mean over layers of |grad_w sum(G(w) y)|^2: `[N]`.

    Args:
      synthesise: `ws -> images [N, H, W, C]`, where an image depends on its own styles only.
      ws: `[N, layers, w_dim]` styles; the result can be differentiated with respect to them.
      noise: y, `[N, H, W, C]`: standard normal over the root of H W.
    """
    slopes = jax.grad(lambda w: (synthesise(w) * noise).sum())(ws)
    return jnp.sqrt(jnp.square(slopes).sum(2).mean(1))
