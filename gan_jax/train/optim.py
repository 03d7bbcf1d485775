"""Adam with its schedule, annealed values, the moving average, and projection of conflicting gradients."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from gan_jax.config import AnnealConfig, EMAConfig, OptimConfig
from gan_jax.trees import Tree

# ----------------------------------------------------------------------------------------------------------------------
# Annealing of values during a run, along half a cosine.


def annealed(config: AnnealConfig, name: str, start: float, images: jax.Array) -> float | jax.Array:
    """Anneals a value: `[]` float32 after `images` images, or `start` itself where the value is not annealed.

    end + (start - end) (1 + cos(pi t)) / 2, where t is the fraction of `config.kimg` shown, at most 1.

    Args:
      config: length of the annealing, and the end of each value.
      name: field of `config` with the end of the value.
      start: value at the beginning.
      images: `[]` real images shown to D.
    """
    end = getattr(config, name)
    if end is None or config.kimg == 0:
        return start
    return cosine(start, end, config.kimg, images)


def cosine(start: float, end: float, kimg: float, images: jax.Array | int) -> jax.Array:
    """Interpolates from `start` to `end` along half a cosine of `kimg` thousand images: `[]` float32."""
    t = jnp.minimum(jnp.asarray(images, jnp.float32) / (kimg * 1000), 1)
    return end + (start - end) * (1 + jnp.cos(jnp.pi * t)) / 2


# ----------------------------------------------------------------------------------------------------------------------
# The moving average of G, counted in images, so that it does not depend on the batch size.


def ema_decay(
    config: EMAConfig, batch: int, images: jax.Array, half_life_kimg: float | jax.Array | None = None
) -> jax.Array:
    """The decay beta = 0.5^(batch / half-life) `[]`; the half-life is at most `rampup` times the images shown so far.

    Args:
      config: half-life and its ramp-up.
      batch: images between two updates of the average.
      images: `[]` shown so far.
      half_life_kimg: half-life; None = the configuration's.
    """
    half_life_kimg = config.half_life_kimg if half_life_kimg is None else half_life_kimg
    half_life = jnp.asarray(half_life_kimg * 1000, jnp.float32)
    if config.rampup is not None:
        half_life = jnp.minimum(half_life, images.astype(jnp.float32) * config.rampup)
    return 0.5 ** (batch / jnp.maximum(half_life, 1e-8))


def lerp(average: Any, value: Any, decay: jax.Array) -> Any:
    """Moves an average towards a value: e + (1 - beta)(p - e), in which a constant leaf stays bit-exact."""
    return jax.tree_util.tree_map(lambda e, p: e + (1 - decay) * (p - e), average, value)


# ----------------------------------------------------------------------------------------------------------------------
# Projection of conflicting gradients (PCGrad; Yu et al., NeurIPS 2020), leaf by leaf.

TINY = 1e-30  # squared length below which a gradient has no direction


def project_conflict(gradient: Tree, main: Tree) -> tuple[Tree, jax.Array]:
    """Removes from `gradient` the part that points against `main`; the second value is the share of such leaves, `[]`.

    For every leaf, g becomes `g - <g, m> / |m|^2 m` where <g, m> < 0.
    """

    def project(g: jax.Array, m: jax.Array) -> tuple[jax.Array, jax.Array]:
        inner = jnp.vdot(g, m, precision=jax.lax.Precision.HIGHEST)
        against = jnp.minimum(inner, 0.0) / jnp.maximum(jnp.square(m).sum(), TINY)
        return g - against * m, inner < 0

    leaves, tree = jax.tree_util.tree_flatten(gradient)
    pairs = [project(g, m) for g, m in zip(leaves, jax.tree_util.tree_leaves(main), strict=True)]
    conflicts = jnp.stack([conflict for _, conflict in pairs]).astype(jnp.float32).mean()
    return jax.tree_util.tree_unflatten(tree, [g for g, _ in pairs]), conflicts


# ----------------------------------------------------------------------------------------------------------------------
# Adam, its schedule in images, and the correction for lazy regularisation.

ROUNDING = 1e-3  # of a stair: its first image is part of it, whatever the rounding of quotients
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
    """The step size `[]` after `images` images: linear warm-up, then constant, or linear, late linear or cosine decay to 0."""
    t = images.astype(jnp.float32)
    warm = config.warmup_kimg * 1000
    rate = jnp.asarray(lr, jnp.float32) * (jnp.minimum(1.0, (t + 1) / warm) if warm > 0 else 1.0)
    progress = jnp.clip((t - warm) / max(total_images - warm, 1.0), 0.0, 1.0)
    if config.schedule == "linear":
        rate *= 1 - progress
    elif config.schedule == "cosine":
        rate *= (1 + jnp.cos(jnp.pi * progress)) / 2
    elif config.schedule == "late_linear":
        rate *= _late(config, progress)
    return rate


def _late(config: OptimConfig, progress: jax.Array) -> jax.Array:
    """The factor `[]` of a decay that begins at `decay_from`, along a line, or in stairs as by epochs."""
    part, stairs = (progress - config.decay_from) / (1 - config.decay_from), config.decay_steps
    if stairs == 0:
        return 1 - jnp.maximum(part, 0.0)
    stair = jnp.floor(part * stairs + ROUNDING).clip(-1, stairs - 1)  # -1 before the decay
    return 1 - (stair + 1) / (stairs + 1)


def apply_updates(
    adam: optax.GradientTransformation, rate: jax.Array, grads: Any, opt: Any, params: Any
) -> tuple[Any, Any]:
    """Applies one Adam update to the trained leaves: `(params, optimiser state)`."""
    with jax.numpy_dtype_promotion("standard"):  # optax divides by 1 - b ** count, a float by an integer
        updates, opt = adam.update(grads, opt, params)
    return jax.tree_util.tree_map(lambda p, u: p - rate * u, params, updates), opt
