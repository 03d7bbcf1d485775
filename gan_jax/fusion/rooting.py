"""GAN Cocktail's game (Avrahami, Lischinski, Fried, ECCV 2022): against what a donor makes."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gan_jax.random_streams import Purpose
from gan_jax.train.context import StepContext

DONOR = "donor"  # in what the stage keeps


def deal_generated(ctx: StepContext) -> StepContext:
    """A context with images of the kept donor as real ones, of latents of their own and with the batch's labels.

    The donor is as it is sampled: in evaluation mode, with values beyond [-1, 1] cut off.
    """
    latents = ctx.keys(Purpose.DONOR_LATENTS)
    images = ctx.task.generate(ctx.constants[DONOR], ctx.batch, latents, False)[0]
    real = jax.lax.stop_gradient(jnp.clip(images, -1, 1))
    return ctx.replace(batch={**ctx.batch, "image": real})
