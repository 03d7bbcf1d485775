"""Penalties: on D's gradient, on path lengths, on kernels that are not orthogonal, on D's scores (LeCam)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.trees import flatten, match

# ----------------------------------------------------------------------------------------------------------------------
# Penalties on the gradient of D with respect to its input. Each takes D as a function `images [B, ...] -> logits [B]`.

Critic = Callable[[jax.Array], jax.Array]


def squared_gradient(critic: Critic, images: jax.Array) -> jax.Array:
    """Computes |grad_x D(x)|^2 of every image: `[B, ...]` -> `[B]`, summed over pixels.

    R1 is gamma / 2 times its mean over real images, R2 over generated ones (Mescheder et al., 2018). The images must
    not influence each other inside the critic.
    """
    gradient = jax.grad(lambda x: critic(x).sum())(images)
    return jnp.square(gradient).sum(axis=tuple(range(1, images.ndim)))


def gradient_penalty(critic: Critic, real: jax.Array, fake: jax.Array, mix: jax.Array) -> jax.Array:
    """Computes (|grad_x D(x)| - 1)^2 at x = mix * real + (1 - mix) * fake: `[B]` (WGAN-GP, Gulrajani et al., 2017).

    Args:
      critic: D.
      real, fake: `[B, ...]` images.
      mix: `[B]` in [0, 1], one draw per pair.
    """
    mix = mix.reshape(-1, *(1,) * (real.ndim - 1))
    # The root has no derivative at 0; the shift is far below relevant gradients.
    norm = jnp.sqrt(squared_gradient(critic, mix * real + (1 - mix) * fake) + 1e-12)
    return jnp.square(norm - 1)


# ----------------------------------------------------------------------------------------------------------------------
# Path lengths of StyleGAN2 (Karras et al., 2020): the change of an image with its styles.


def path_lengths(synthesise: Callable[[jax.Array], jax.Array], ws: jax.Array, noise: jax.Array) -> jax.Array:
    """Computes the root of the mean over layers of |grad_w sum(G(w) y)|^2: `[N]`.

    Args:
      synthesise: `ws -> images [N, H, W, C]`, where an image depends on its own styles only.
      ws: `[N, layers, w_dim]` styles; the result can be differentiated with respect to them.
      noise: y, `[N, H, W, C]`: standard normal over the root of H W.
    """
    slopes = jax.grad(lambda w: (synthesise(w) * noise).sum())(ws)
    return jnp.sqrt(jnp.square(slopes).sum(2).mean(1))


# ----------------------------------------------------------------------------------------------------------------------
# Orthogonal regularisation of a generator's kernels (Brock et al., BigGAN, 2019, equation 3).

KERNELS = ("**/kernel", "kernel")  # convolutions and dense layers; tables of embeddings, norms and biases are left out


def orthogonal_penalty(params: Any, patterns: tuple[str, ...] = KERNELS) -> jax.Array:
    """Computes the sum over kernels of |W^T W * (1 - I)|^2, `[]`: the similarity of filters, without their lengths.

    W is a kernel as the matrix `[kh * kw * I, O]`, so that the products are those between its O filters. The loss takes
    `beta` times this, 1e-4 in the paper. The published PyTorch implementation adds half of its gradient, so the same
    number is half as strong there.

    Args:
      params: tree of parameters.
      patterns: patterns of the leaves; each leaf must have two axes or more.

    Raises:
      ValueError: a leaf that is no kernel, or none at all.
    """
    chosen = {path: leaf for path, leaf in flatten(params).items() if any(match(p, path) for p in patterns)}
    if not chosen:
        raise ValueError(f"no leaf is covered by {', '.join(patterns)}; the penalty needs kernels")
    if flat := [path for path, leaf in chosen.items() if leaf.ndim < 2]:
        raise ValueError(f"leaf {flat[0]!r} has {chosen[flat[0]].ndim} axes; a kernel has two or more")
    return functools.reduce(jnp.add, map(_off_diagonal, chosen.values()))


def _off_diagonal(kernel: jax.Array) -> jax.Array:
    w = kernel.reshape(-1, kernel.shape[-1])
    w = w if w.dtype.itemsize >= 4 else w.astype(jnp.float32)
    if w.shape[0] >= w.shape[1]:
        gram = w.T @ w
        return jnp.square(gram - jnp.diag(jnp.diag(gram))).sum()
    # More filters than values in a filter, as in the first layer: |W^T W| = |W W^T|, and the latter is smaller. Such filters
    # cannot all be orthogonal, so the difference does not cancel.
    return jnp.square(w @ w.T).sum() - jnp.square(jnp.square(w).sum(0)).sum()


# ----------------------------------------------------------------------------------------------------------------------
# LeCam regularisation (Tseng et al., 2021): D's logits are kept near the other side's average, for few data.


def lecam(logits_real: jax.Array, logits_fake: jax.Array, anchor_real: jax.Array, anchor_fake: jax.Array) -> jax.Array:
    """Computes relu(real - anchor_fake)^2 + relu(anchor_real - fake)^2: `[B]`, for D.

    Args:
      logits_real, logits_fake: `[B]`.
      anchor_real, anchor_fake: `[]` moving averages of the mean logits of real and of generated images.
    """
    return jnp.square(jax.nn.relu(logits_real - anchor_fake)) + jnp.square(jax.nn.relu(anchor_real - logits_fake))
