"""Which of several discriminators knows the target best."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.train.context import StepContext
from gan_jax.train.state import Variables
from gan_jax.transfer.importance import estimate, examples, game_loss
from gan_jax.transfer.preparation import PrepareContext

SAMPLES = 256  # real and generated images that each is asked about


def best_discriminator(
    context: PrepareContext, choices: Sequence[Variables], g: Variables
) -> tuple[Variables, list[float]]:
    """The D whose loss in the game on the target's images and G's samples is least, and the losses of all."""

    def loss(ctx: StepContext) -> jax.Array:
        value = game_loss(ctx, "d")
        one_by_one = jax.lax.map(lambda one: value(ctx.constants["g"], ctx.constants["d"], one), examples(ctx))
        return ctx.sync(one_by_one.mean())

    losses = [float(estimate(context, g, d, SAMPLES, loss, like=jnp.zeros(()))) for d in choices]
    return choices[int(np.argmin(losses))], losses
