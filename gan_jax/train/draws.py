"""Random draws of a step, with keys by (run, step, purpose, global example index) on any number of devices."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gan_jax.random_streams import Purpose
from gan_jax.train.state import GanState


def example_index(per_device: int, axis_name: str | None) -> jax.Array:
    """The global indices `[per_device]` of this device's examples."""
    first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * per_device
    return first + jnp.arange(per_device)


def example_keys(state: GanState, purpose: Purpose, i: int | jax.Array, index: jax.Array) -> jax.Array:
    """Keys `[B]` of the examples `index [B]`, for the i-th use of a purpose in this step."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(state.key, state.step), int(purpose)), i)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, index)
