"""Path length regularisation (StyleGAN2): equal steps in style space are to move the image equally far."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gan_jax.train.draws import Purpose
from gan_jax.train.regularisers.regulariser import Extras, Regulariser
from gan_jax.train.turn import Turn


def _value(turn: Turn) -> tuple[jax.Array, Extras]:
    loss, measure = turn.loss, turn.task.path_lengths
    if measure is None:
        raise ValueError("loss.path_length wants a generator with styles (StyleGAN2); use 0")
    shrink = loss.path_length_shrink
    # Every `shrink`-th example of the whole batch, whatever it is cut into. A device whose part does not divide
    # computes all of its examples and counts some.
    divides = len(turn.index) % shrink == 0
    chosen = slice(None, None, shrink if divides else 1)
    batch = jax.tree_util.tree_map(lambda x: x[chosen], turn.batch)
    keys, noise = turn.keys(Purpose.PATH_LATENTS)[chosen], turn.keys(Purpose.PATH_NOISE)[chosen]
    lengths = measure(turn.g, batch, keys, noise)
    counts = (turn.index[chosen] % shrink == 0).astype(lengths.dtype)
    counts /= turn.sync(counts.mean())
    old = turn.extras["path_length"]
    # Its gradient flows through the mean too, as published.
    mean = old + loss.path_length_decay * (turn.sync((counts * lengths).mean()) - old)
    penalty = loss.path_length * (counts * jnp.square(lengths - mean)).mean()
    return penalty, {"path_length": jax.lax.stop_gradient(mean)}


PATH_LENGTH = Regulariser(
    name="path_penalty",
    network="g",
    wanted=lambda loss: loss.path_length > 0,
    value=_value,
    interval=lambda loss: loss.path_length_interval,
    extras=("path_length",),
)
