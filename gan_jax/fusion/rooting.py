"""The task of GAN Cocktail's common root (Avrahami, Lischinski, Fried, ECCV 2022): a donor's images are the real ones."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gan_jax.random_streams import Purpose
from gan_jax.train.context import StepContext

DONOR = "donor"  # key among the stage's constants


def use_donor_images(ctx: StepContext) -> StepContext:
    """Replaces a context's real images with the frozen donor's, from separate latents and with the batch's labels.

    The donor runs as in sampling: in evaluation mode, its images clipped to [-1, 1].
    """
    latents = ctx.keys(Purpose.DONOR_LATENTS)
    images = ctx.task.generate(ctx.constants[DONOR], ctx.batch, latents, False)[0]
    real = jax.lax.stop_gradient(jnp.clip(images, -1, 1))
    return ctx.replace(batch={**ctx.batch, "image": real})
