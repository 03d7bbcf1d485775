"""Path length regularisation (StyleGAN2): equal steps in style space move the image equally far."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gan_jax.random_streams import Purpose
from gan_jax.train.context import StepContext
from gan_jax.train.regularisers.regulariser import Extras, Regulariser


def _value(ctx: StepContext) -> tuple[jax.Array, Extras]:
    loss, measure = ctx.loss, ctx.task.path_lengths
    if measure is None:
        raise ValueError("loss.path_length needs a generator with styles (StyleGAN2); use 0")
    shrink = loss.path_length_shrink
    # Every `shrink`-th example of the global batch, on any number of devices. A device whose part does not divide
    # computes all of its examples and counts some.
    divides = len(ctx.index) % shrink == 0
    chosen = slice(None, None, shrink if divides else 1)
    batch = jax.tree_util.tree_map(lambda x: x[chosen], ctx.batch)
    keys, noise = ctx.keys(Purpose.PATH_LATENTS)[chosen], ctx.keys(Purpose.PATH_NOISE)[chosen]
    lengths = measure(ctx.g, batch, keys, noise)
    counts = (ctx.index[chosen] % shrink == 0).astype(lengths.dtype)
    counts /= ctx.sync(counts.mean())
    old = ctx.extras["path_length"]
    # The gradient flows through the mean too, as published.
    mean = old + loss.path_length_decay * (ctx.sync((counts * lengths).mean()) - old)
    penalty = loss.path_length * (counts * jnp.square(lengths - mean)).mean()
    return penalty, {"path_length": jax.lax.stop_gradient(mean)}


PATH_LENGTH = Regulariser(
    name="path_penalty",
    network="g",
    is_on=lambda loss: loss.path_length > 0,
    value=_value,
    interval=lambda loss: loss.path_length_interval,
    extras=("path_length",),
)
