"""R1, R2 and WGAN-GP: D pays for its gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gan_jax.losses import gradient_penalty, squared_gradient
from gan_jax.train.draws import Purpose
from gan_jax.train.regularisers.regulariser import Extras, Regulariser
from gan_jax.train.turn import Turn


def _value(turn: Turn) -> tuple[jax.Array, Extras]:
    loss, task = turn.loss, turn.task
    # Gradients are penalised where ADA begins, as published; DiffAugment's are those of the image as it is.
    see = lambda x: x if turn.p is None else turn.augmented(x, Purpose.AUGMENT_REAL)
    critic = lambda x: task.discriminate(turn.d, see(x), turn.batch, False)[0]
    terms = jnp.zeros(turn.index.shape)
    if loss.r1_gamma > 0:
        terms += turn.now("gamma", loss.r1_gamma) / 2 * squared_gradient(critic, turn.real)
    if loss.r2_gamma > 0:
        terms += turn.now("gamma", loss.r2_gamma) / 2 * squared_gradient(critic, turn.fake)
    if loss.gp_lambda > 0:
        mix = jax.vmap(jax.random.uniform)(turn.keys(Purpose.MIX))
        terms += loss.gp_lambda * gradient_penalty(critic, turn.real, turn.fake, mix)
    return terms.mean(), {}


GRADIENT_PENALTY = Regulariser(
    name="penalty",
    network="d",
    wanted=lambda loss: max(loss.r1_gamma, loss.r2_gamma, loss.gp_lambda) > 0,
    value=_value,
    interval=lambda loss: loss.penalty_interval,
)
