"""Adam, its schedule in images, and the correction for lazy regularisation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from gan_jax.config import OptimConfig

LR_SCALE = "lr_scale"  # in the state's extras: `[]` factor of the learning rates, where replicas of a population differ


def make_adam(
    config: OptimConfig, updates: float = 1.0, b2: float | jax.Array | None = None
) -> optax.GradientTransformation:
    """Makes Adam with clipping and without a step size: the step multiplies by `learning_rate`, which counts images.

    Args:
      updates: c = k / (k + 1) where a penalty has an update of its own every k steps, so that k + 1 updates move the
        moments as far as k would (lazy regularisation, Karras et al., 2020); otherwise 1.
      b2: beta 2; None = the configuration's.
    """
    b2 = config.b2 if b2 is None else b2
    adam: Any = optax.scale_by_adam(b1=config.b1**updates, b2=b2**updates, eps=config.eps)  # type: ignore[arg-type]
    return adam if config.clip_norm is None else optax.chain(optax.clip_by_global_norm(config.clip_norm), adam)


def lazy_correction(*intervals: int) -> float:
    """The correction c = 1 / (1 + sum of 1 / k) for penalties with updates of their own, every k > 1 steps."""
    return 1 / (1 + sum(1 / interval for interval in intervals if interval > 1))


def learning_rate(config: OptimConfig, lr: float | jax.Array, total_images: float, images: jax.Array) -> jax.Array:
    """The step size `[]` after `images` images: linear warm-up, then constant, or linear or cosine decay to 0."""
    t = images.astype(jnp.float32)
    warm = config.warmup_kimg * 1000
    rate = jnp.asarray(lr, jnp.float32) * (jnp.minimum(1.0, (t + 1) / warm) if warm > 0 else 1.0)
    progress = jnp.clip((t - warm) / max(total_images - warm, 1.0), 0.0, 1.0)
    if config.schedule == "linear":
        rate *= 1 - progress
    elif config.schedule == "cosine":
        rate *= (1 + jnp.cos(jnp.pi * progress)) / 2
    return rate


def apply_updates(
    adam: optax.GradientTransformation, rate: jax.Array, grads: Any, opt: Any, params: Any
) -> tuple[Any, Any]:
    """Applies one Adam update to the trained leaves: `(params, optimiser state)`."""
    with jax.numpy_dtype_promotion("standard"):  # optax divides by 1 - b ** count, a float by an integer
        updates, opt = adam.update(grads, opt, params)
    return jax.tree_util.tree_map(lambda p, u: p - rate * u, params, updates), opt
