"""Everything that changes during training, in one tree. Resuming means: all of it, to the bit."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

Variables = dict[str, Any]  # {"params": tree, other collections: trees}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GanState:
    """A GAN in training. Leaf paths begin with the field names: `g/params/b16/conv0/kernel`, `opt_d/0/mu/...`.

    No Python scalars and no zero-size leaves: every leaf is an array that a checkpoint keeps.
    """

    step: jax.Array  # [] int32, G updates done (or D updates, while D warms up alone)
    images: jax.Array  # [] int32, real images shown to D
    g: Variables  # generator: params and collections
    d: Variables  # discriminator: params and collections
    g_ema: Variables  # moving average of g, what is sampled and evaluated
    opt_g: Any  # optax state over the trained leaves of g
    opt_d: Any  # optax state over the trained leaves of d
    extras: dict[str, Any]  # running values of losses, augmentation and transfer methods
    key: jax.Array  # [] typed PRNG key, folded with the step for every draw; itself never advanced
    # what a transfer method keeps of its start; no step changes it
    kept: dict[str, Any] = dataclasses.field(default_factory=dict)
