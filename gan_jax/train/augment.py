"""Adaptive augmentation in training: its strength is a leaf of the state, changed after every few D updates."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gan_jax.augment.ada import INTERVAL, adapt
from gan_jax.config import AugmentConfig, Config
from gan_jax.train.anneal import annealed
from gan_jax.train.state import GanState

Extras = dict[str, jax.Array]


def init_augment(config: AugmentConfig) -> Extras:
    """`ada_p []`, the strength, and `ada_signs []`, the sum of mean signs since its last change; empty without ADA."""
    if config.ada is None:
        return {}
    return {"ada_p": jnp.float32(config.ada_p), "ada_signs": jnp.zeros((), jnp.float32)}


def strength(config: Config, state: GanState) -> jax.Array | None:
    """The probability `[]` of each transform of ADA; None without ADA."""
    if config.augment.ada is not None and config.anneal.ada_p is not None:
        return jnp.asarray(annealed(config.anneal, "ada_p", config.augment.ada_p, state.images), jnp.float32)
    return state.extras.get("ada_p")


def adapt_augment(config: AugmentConfig, extras: Extras, sign: jax.Array, done: jax.Array, batch: int) -> Extras:
    """The extras after a D update.

    Args:
      config: the target and the speed.
      extras: as they were.
      sign: `[]` mean sign of D's logits of the real images, over all devices.
      done: `[]` D updates done, this one too.
      batch: images in a minibatch, over all devices.
    """
    if config.ada is None or config.ada_target is None:
        return extras
    signs, due = extras["ada_signs"] + sign, done % INTERVAL == 0
    changed = adapt(extras["ada_p"], signs / INTERVAL, INTERVAL * batch, config.ada_target, config.ada_kimg)
    return {
        **extras,
        "ada_p": jnp.where(due, changed, extras["ada_p"]),
        "ada_signs": jnp.where(due, 0.0, signs),
    }
