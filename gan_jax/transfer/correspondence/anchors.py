"""Latents of relaxed realism (Ojha et al., CVPR 2021): near a few anchors in some steps, normal draws in the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.config import CDCConfig
from gan_jax.random_streams import ANCHOR_KEY, Purpose
from gan_jax.tasks.image import draw_latents
from gan_jax.train.context import StepContext
from gan_jax.train.state import Networks
from gan_jax.transfer.preparation import PrepareContext, PreparedState

Constants = Callable[[Networks], dict[str, Any]]
Prepare = Callable[[PrepareContext, Networks, dict[str, Any]], PreparedState]


def at_anchors(config: CDCConfig, ctx: StepContext) -> jax.Array:
    """Whether a step's latents are near anchors, `[]`: in the first step and every `anchor_every`-th after it."""
    return jnp.asarray(ctx.step) % config.anchor_every == 0


def anchor_constants(config: CDCConfig, z_dim: int) -> tuple[Constants, Prepare]:
    """`constants` and `prepare` of a method: the start of G, and anchors `[anchors, z_dim]`, drawn once in each run."""

    def constants(nets: Networks) -> dict[str, Any]:
        return {"g": nets["g"], "anchors": jnp.zeros((config.anchors, z_dim))}

    def prepare(context: PrepareContext, nets: Networks, constants: dict[str, Any]) -> PreparedState:
        anchors = jax.random.normal(jax.random.fold_in(context.key, ANCHOR_KEY), (config.anchors, z_dim))
        return PreparedState(nets, {**constants, "anchors": anchors})

    return constants, prepare


def anchor_latents(config: CDCConfig) -> Callable[[StepContext], StepContext]:
    """Makes the transform that sets the latents of an update.

    Near anchors they are an anchor plus noise, and styles are not mixed; otherwise they are the usual draws, with the
    usual style mixing.
    """

    def set_latents(ctx: StepContext) -> StepContext:
        anchors, near = ctx.constants["anchors"], at_anchors(config, ctx)
        index = jax.vmap(lambda key: jax.random.randint(key, (), 0, len(anchors)))(ctx.keys(Purpose.ANCHOR))
        noise = draw_latents(ctx.keys(Purpose.ANCHOR_NOISE), anchors.shape[1])
        usual = draw_latents(ctx.latent_keys, anchors.shape[1])
        z = jnp.where(near, anchors[index] + config.anchor_noise * noise, usual)
        mixing = jnp.broadcast_to(~near, ctx.index.shape)
        return dataclasses.replace(ctx, batch={**ctx.batch, "z": z, "mixing": mixing})

    return set_latents
