"""What a step draws, and with which keys: each by (run, step, purpose, global example index), on any number of devices."""

from __future__ import annotations

import enum

import jax
import jax.numpy as jnp

from gan_jax.train.state import GanState


class Purpose(enum.IntEnum):
    """What a draw is for. A number is folded into keys, so it keeps its meaning for good."""

    DATA = 0
    D_LATENTS = 1  # of what D is shown in its own updates
    G_LATENTS = 2
    AUGMENT_REAL = 3
    AUGMENT_FAKE = 4
    MIX = 5  # WGAN-GP's points between real and generated images
    VARY_REAL = 6  # consistency: the transforms T
    VARY_FAKE = 7
    NEAR = 8  # consistency: the noise on latents
    PATH_LATENTS = 9
    PATH_NOISE = 10
    PAIRED_LATENTS = 11  # of what a source and its adapted copy are both asked for
    PAIRED_NOISE = 12
    ANCHOR = 13  # which of a method's fixed latents, and the noise around it
    ANCHOR_NOISE = 14
    CHOICE = 15  # which of several layers a method looks at
    PROBE_LATENTS = 16  # of what a method estimates importance on
    COMPARED_LATENTS = 17  # normal latents that learned ones are compared with
    DONOR_LATENTS = 18  # of what a donor makes to be taken for real images


def example_index(per_device: int, axis_name: str | None) -> jax.Array:
    """The global indices `[per_device]` of this device's examples."""
    first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * per_device
    return first + jnp.arange(per_device)


def example_keys(state: GanState, purpose: Purpose, i: int | jax.Array, index: jax.Array) -> jax.Array:
    """A key `[B]` for each example `index [B]` of the i-th use of a purpose in this step."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(state.key, state.step), int(purpose)), i)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, index)
