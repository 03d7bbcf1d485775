"""Choosing one of several discriminators by its loss on the target."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.train.context import StepContext
from gan_jax.train.state import Variables
from gan_jax.transfer.importance import adversarial_loss, estimate, examples
from gan_jax.transfer.preparation import PrepareContext

SAMPLES = 256  # real and generated images that each D judges


def best_discriminator(
    context: PrepareContext, choices: Sequence[Variables], g: Variables
) -> tuple[Variables, list[float]]:
    """The D with the least adversarial loss on the target's images and G's samples, and the losses of all."""

    def loss(ctx: StepContext) -> jax.Array:
        value = adversarial_loss(ctx, "d")
        losses = jax.lax.map(lambda example: value(ctx.constants["g"], ctx.constants["d"], example), examples(ctx))
        return ctx.sync(losses.mean())

    losses = [float(estimate(context, g, d, SAMPLES, loss, like=jnp.zeros(()))) for d in choices]
    return choices[int(np.argmin(losses))], losses
