"""GAN Cocktail's parts (Avrahami, Lischinski, Fried, ECCV 2022): a game against what a donor makes, and the average."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from gan_jax.train.draws import Purpose
from gan_jax.train.turn import Turn
from gan_jax.trees import Tree

DONOR = "donor"  # in what the stage keeps


def deal_generated(turn: Turn) -> Turn:
    """The turn with images of the kept donor as real ones, of latents of their own and with the batch's labels.

    The donor is as it is sampled: in evaluation mode, with values beyond [-1, 1] cut off.
    """
    latents = turn.keys(Purpose.DONOR_LATENTS)
    images = turn.task.generate(turn.kept[DONOR], turn.batch, latents, False)[0]
    real = jax.lax.stop_gradient(jnp.clip(images, -1, 1))
    return dataclasses.replace(turn, batch={**turn.batch, "image": real})


def average(trees: Sequence[Tree]) -> Tree:
    """The uniform average of every leaf, running values too."""
    return jax.tree_util.tree_map(lambda *leaves: sum(leaves[1:], leaves[0]) / len(leaves), *trees)
