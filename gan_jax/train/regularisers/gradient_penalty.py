"""Gradient penalties of D: R1, R2 and WGAN-GP."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gan_jax.losses import gradient_penalty, squared_gradient
from gan_jax.random_streams import Purpose
from gan_jax.train.context import Sample, StepContext
from gan_jax.train.regularisers.regulariser import Extras, Regulariser


def _value(ctx: StepContext) -> tuple[jax.Array, Extras]:
    loss, task = ctx.loss, ctx.task

    # Gradients are by the image before ADA, as published; without ADA, D sees the image without DiffAugment.
    def critic(x: Sample) -> jax.Array:
        """D's logits in evaluation mode."""
        x = x if ctx.augment_p is None else ctx.augmented(x, Purpose.AUGMENT_REAL)
        return task.discriminate(ctx.d, x, ctx.batch, False)[0]

    terms = jnp.zeros(ctx.index.shape)
    if loss.r1_gamma > 0:
        terms += ctx.annealed("gamma", loss.r1_gamma) / 2 * squared_gradient(critic, ctx.real)
    if loss.r2_gamma > 0:
        terms += ctx.annealed("gamma", loss.r2_gamma) / 2 * squared_gradient(critic, ctx.fake)
    if loss.gp_lambda > 0:
        mix = jax.vmap(jax.random.uniform)(ctx.keys(Purpose.MIX))
        terms += loss.gp_lambda * gradient_penalty(critic, ctx.real, ctx.fake, mix)
    return terms.mean(), {}


GRADIENT_PENALTY = Regulariser(
    name="penalty",
    network="d",
    is_on=lambda loss: max(loss.r1_gamma, loss.r2_gamma, loss.gp_lambda) > 0,
    value=_value,
    interval=lambda loss: loss.penalty_interval,
)
