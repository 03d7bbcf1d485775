"""GAN Cocktail's game (Avrahami, Lischinski, Fried, ECCV 2022): against what a donor makes."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from gan_jax.train.draws import Purpose
from gan_jax.train.turn import Turn

DONOR = "donor"  # in what the stage keeps


def deal_generated(turn: Turn) -> Turn:
    """The turn with images of the kept donor as real ones, of latents of their own and with the batch's labels.

    The donor is as it is sampled: in evaluation mode, with values beyond [-1, 1] cut off.
    """
    latents = turn.keys(Purpose.DONOR_LATENTS)
    images = turn.task.generate(turn.kept[DONOR], turn.batch, latents, False)[0]
    real = jax.lax.stop_gradient(jnp.clip(images, -1, 1))
    return dataclasses.replace(turn, batch={**turn.batch, "image": real})
