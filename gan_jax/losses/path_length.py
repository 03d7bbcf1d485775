"""Path lengths of StyleGAN2 (Karras et al., 2020): how far an image moves with its styles."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp


def path_lengths(synthesise: Callable[[jax.Array], jax.Array], ws: jax.Array, noise: jax.Array) -> jax.Array:
    """The root, over layers, of the mean of |grad_w sum(G(w) y)|^2: `[N]`.

    Args:
      synthesise: `ws -> images [N, H, W, C]`, where an image depends on its own styles only.
      ws: `[N, layers, w_dim]` styles; the derivative of the result with respect to them flows too.
      noise: y, `[N, H, W, C]`: standard normal over the root of H W.
    """
    slopes = jax.grad(lambda w: (synthesise(w) * noise).sum())(ws)
    return jnp.sqrt(jnp.square(slopes).sum(2).mean(1))
