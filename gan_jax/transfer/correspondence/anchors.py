"""Relaxed realism's latents (Ojha et al., CVPR 2021): near a few anchors in some steps, anywhere in the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.config import CDCConfig
from gan_jax.tasks.image import draw_latents
from gan_jax.train.draws import Purpose
from gan_jax.train.state import Variables
from gan_jax.train.turn import Turn
from gan_jax.transfer.ground import Ground, Prepared

Keep = Callable[[Variables, Variables], dict[str, Any]]
Prepare = Callable[[Ground, Variables, Variables, dict[str, Any]], Prepared]


def at_anchors(config: CDCConfig, turn: Turn) -> jax.Array:
    """Whether a step is one near anchors, `[]`: the first and every `anchor_every`-th after it."""
    return jnp.asarray(turn.step) % config.anchor_every == 0


def keep_anchors(config: CDCConfig, z_dim: int) -> tuple[Keep, Prepare]:
    """`keep` and `prepare` of a method: the start of G, and anchors `[anchors, z_dim]` that each run draws once."""

    def keep(g: Variables, d: Variables) -> dict[str, Any]:
        return {"g": g, "anchors": jnp.zeros((config.anchors, z_dim))}

    def prepare(ground: Ground, g: Variables, d: Variables, kept: dict[str, Any]) -> Prepared:
        anchors = jax.random.normal(jax.random.fold_in(ground.key, int(Purpose.ANCHOR)), (config.anchors, z_dim))
        return Prepared(g, d, {**kept, "anchors": anchors})

    return keep, prepare


def deal_anchors(config: CDCConfig) -> Callable[[Turn], Turn]:
    """Deals each turn its latents: an anchor and noise, styles never mixed; or what is drawn anyway, mixed as ever."""

    def deal(turn: Turn) -> Turn:
        anchors, near = turn.kept["anchors"], at_anchors(config, turn)
        which = jax.vmap(lambda key: jax.random.randint(key, (), 0, len(anchors)))(turn.keys(Purpose.ANCHOR))
        around = draw_latents(turn.keys(Purpose.ANCHOR_NOISE), anchors.shape[1])
        free = draw_latents(turn.latents, anchors.shape[1])
        z = jnp.where(near, anchors[which] + config.anchor_noise * around, free)
        mixing = jnp.broadcast_to(~near, turn.index.shape)
        return dataclasses.replace(turn, batch={**turn.batch, "z": z, "mixing": mixing})

    return deal
