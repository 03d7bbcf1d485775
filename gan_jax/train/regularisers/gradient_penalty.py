"""R1, R2 and WGAN-GP: D pays for its gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gan_jax.losses import gradient_penalty, squared_gradient
from gan_jax.random_streams import Purpose
from gan_jax.train.context import StepContext
from gan_jax.train.regularisers.regulariser import Extras, Regulariser


def _value(ctx: StepContext) -> tuple[jax.Array, Extras]:
    loss, task = ctx.loss, ctx.task
    # Gradients are penalised where ADA begins, as published; DiffAugment's are those of the image as it is.
    see = lambda x: x if ctx.augment_p is None else ctx.augmented(x, Purpose.AUGMENT_REAL)
    critic = lambda x: task.discriminate(ctx.d, see(x), ctx.batch, False)[0]
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
