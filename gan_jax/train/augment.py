"""Adaptive augmentation (ADA) in training: its strength is a leaf of the state, adapted after every few D updates."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gan_jax.augment.ada import INTERVAL, adapt
from gan_jax.config import AugmentConfig, Config
from gan_jax.train.anneal import annealed
from gan_jax.train.state import GanState

Extras = dict[str, jax.Array]


def init_augment(config: AugmentConfig) -> Extras:
    """The extras of ADA: `ada_p []`, the strength, and `ada_signs []`, the sum of mean signs since its last change."""
    if config.ada is None:
        return {}
    return {"ada_p": jnp.float32(config.ada_p), "ada_signs": jnp.zeros((), jnp.float32)}


def strength(config: Config, state: GanState) -> jax.Array | None:
    """The strength of ADA, a probability `[]` of each transform; None without ADA."""
    if config.augment.ada is not None and config.anneal.ada_p is not None:
        return jnp.asarray(annealed(config.anneal, "ada_p", config.augment.ada_p, state.images), jnp.float32)
    return state.extras.get("ada_p")


def adapt_augment(config: AugmentConfig, extras: Extras, sign: jax.Array, updates: jax.Array, batch: int) -> Extras:
    """Adapts the strength of ADA after a D update: the new extras.

    Args:
      config: target and speed of ADA.
      extras: before the update.
      sign: `[]` mean sign of D's logits of the real images, over all devices.
      updates: `[]` number of D updates, with this one.
      batch: images in a minibatch, over all devices.
    """
    if config.ada is None or config.ada_target is None:
        return extras
    signs, due = extras["ada_signs"] + sign, updates % INTERVAL == 0
    changed = adapt(extras["ada_p"], signs / INTERVAL, INTERVAL * batch, config.ada_target, config.ada_kimg)
    return {
        **extras,
        "ada_p": jnp.where(due, changed, extras["ada_p"]),
        "ada_signs": jnp.where(due, 0.0, signs),
    }
