"""Random draws of a step, with keys by (run, step, purpose, global example index) on any number of devices."""

from __future__ import annotations

import enum

import jax
import jax.numpy as jnp

from gan_jax.train.state import GanState


class Purpose(enum.IntEnum):
    """The purpose of a draw. Its number is folded into keys, so it must never change."""

    DATA = 0
    D_LATENTS = 1  # of D's fakes
    G_LATENTS = 2
    AUGMENT_REAL = 3
    AUGMENT_FAKE = 4
    MIX = 5  # WGAN-GP: interpolation of real and generated images
    VARY_REAL = 6  # consistency: transforms T
    VARY_FAKE = 7
    NEAR = 8  # consistency: noise on latents
    PATH_LATENTS = 9
    PATH_NOISE = 10
    PAIRED_LATENTS = 11  # shared by a source and its adapted copy
    PAIRED_NOISE = 12
    ANCHOR = 13  # choice among a method's fixed latents, and noise around it
    ANCHOR_NOISE = 14
    CHOICE = 15  # choice among layers
    PROBE_LATENTS = 16  # of estimates of importance
    COMPARED_LATENTS = 17  # normal latents that learned ones are compared with
    DONOR_LATENTS = 18  # of a donor's images that serve as real ones


def example_index(per_device: int, axis_name: str | None) -> jax.Array:
    """The global indices `[per_device]` of this device's examples."""
    first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * per_device
    return first + jnp.arange(per_device)


def example_keys(state: GanState, purpose: Purpose, i: int | jax.Array, index: jax.Array) -> jax.Array:
    """Keys `[B]` of the examples `index [B]`, for the i-th use of a purpose in this step."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(state.key, state.step), int(purpose)), i)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, index)
