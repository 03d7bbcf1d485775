"""Attention-based fusion in the space of weights: a learned query decides how much of each donor a block takes.

What the shares are made of: `fusion.attention`. Gates are shut at first, so that the stage begins as the source to the
bit; the softmax's temperature falls over the stage, so that shares stay alike until D has said something. A free query
collapses into plain weights exactly. One that is made of latents, styles, classes or features (`fusion.conditional`) has
shares for every example while it learns. It collapses to their running mean; with `collapse` distil that is where a plain
G begins, which is taught for `distil_kimg` to make what the frozen mixture makes of the same latents, by the distance
between images. Then everything is fine-tuned.

A softmax over one donor is 1 whatever the query. `with_source` makes the source a slot of it: with `gate` 1, a low
temperature and `granularity` global a latent decides whether the source or a donor makes its image. `aligner` is A of the
formula in `fusion.aligner`, as in Zoo-Tuning: donors' channels are mapped before they are mixed, and the maps baked.
With `keys` descriptor a donor's key is a trained map of what its images are like (`fusion.descriptors`), so that donors
that are alike have shares that are alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.config import AttentionFusionConfig, ConfigError, DistillationConfig
from gan_jax.fusion.aligner import spatial_kernels
from gan_jax.fusion.attention import TEMPERATURE, Attention, cooled
from gan_jax.fusion.conditional import MEAN, Conditional, conditional, plain_target, remember, source_of
from gan_jax.fusion.mixture import Gate, Mixture
from gan_jax.nets import Pair
from gan_jax.reserved import ADAPTER, GATE
from gan_jax.tasks.image import draw_latents
from gan_jax.train.context import StepContext
from gan_jax.train.regularisers import Network
from gan_jax.train.state import GanState, Variables
from gan_jax.transfer.donors import Donors, descriptors
from gan_jax.transfer.fusing import Fusing, fusion
from gan_jax.transfer.method import Method
from gan_jax.transfer.preparation import PrepareContext


def make(config: AttentionFusionConfig, pair: Pair) -> Method:
    """Queries, keys and gates are learned for `fuse_kimg`, then everything is fine-tuned.

    Raises:
      ConfigError: as `fusion`; a temperature that is not above 0; a width below 1; a query of what these networks lack;
        channels with shares of their own that depend on examples; a lesson where no latent has weights of
        its own, or of no images; an aligner without kernels for it.
    """
    _check(config)
    if config.aligner and not spatial_kernels(pair.g.specs()["params"]):
        raise ConfigError(
            f"transfer.aligner maps the output channels of kernels above 1x1, but {type(pair.config).__name__} has none; use "
            "False"
        )
    base: dict[str, Any] = {
        "width": config.attention_width, "gate": config.gate, "temperature": config.temperature,
        "with_source": config.with_source,
    }  # fmt: skip
    try:
        source = None if config.query == "free" else source_of(config.query, pair)
    except ValueError as error:
        raise ConfigError(f"transfer.query is {config.query}: {error}") from None

    def gate(
        context: PrepareContext,
        group: Callable[[str], str],
        start: dict[str, Variables],
        donors: Donors,
        network: Network,
    ) -> Gate:
        count, options = len(donors.names), dict(base)
        if config.keys == "descriptor":  # of Gs, for Ds too
            options["descriptors"] = descriptors(pair, [start["g"], *donors.g])[0 if config.with_source else 1 :]
        if source is None or network == "d":
            return Attention(count, **options)
        inputs = jax.eval_shape(source, start["g"], *_inputs(pair)).shape[-1]
        return Conditional(count, inputs=inputs, **options)

    def post_step(mixture: Mixture, before: GanState, state: GanState, ctx: StepContext) -> GanState:
        now = cooled(
            config.temperature, config.temperature_end, state.images.astype(jnp.float32) / (1000 * config.fuse_kimg)
        )
        if source is not None:
            z = draw_latents(ctx.latent_keys, pair.config.z_dim)
            s = source(plain_target(state.nets["g"]), z, ctx.batch.get("label"))
            means = remember(mixture, state.nets["g"]["params"], s, ctx.sync)[ADAPTER][GATE][MEAN]

        def updated(name: str, variables: Variables) -> Variables:
            if ADAPTER not in variables["params"]:
                return variables
            return _with_gate(
                variables, {TEMPERATURE: now} | ({MEAN: means} if source is not None and name == "g" else {})
            )

        nets = {name: updated(name, variables) for name, variables in state.nets.items()}
        return state.replace(nets=nets, ema={"g": updated("g", state.ema["g"])})

    fusing = Fusing(gate, post_step=post_step, aligner=config.aligner)
    if source is None:
        return fusion(config, pair, fusing)
    net = lambda pair, mixture: conditional(pair, mixture, source, config.per)
    taught = DistillationConfig(distil_kimg=config.distil_kimg, distil_lr=config.distil_lr)
    lesson = taught if config.collapse == "distil" else None
    return fusion(config, pair, dataclasses.replace(fusing, net=net, lesson=lesson))


def _inputs(pair: Pair) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct | None]:
    z = jax.ShapeDtypeStruct((2, pair.config.z_dim), jnp.float32)
    return z, jax.ShapeDtypeStruct((2,), jnp.int32) if pair.config.num_classes else None


def _with_gate(variables: Variables, changes: dict[str, Any]) -> Variables:
    params = variables["params"]
    gate = {**params[ADAPTER][GATE], **changes}
    return {**variables, "params": {**params, ADAPTER: {**params[ADAPTER], GATE: gate}}}


def _check(config: AttentionFusionConfig) -> None:
    if config.aligner and config.shard_donors:
        raise ConfigError(
            "transfer.aligner maps all output channels of a donor, of which with transfer.shard_donors no device has all; "
            "use one of the two"
        )
    if min(config.temperature, config.temperature_end) <= 0:
        raise ConfigError(
            f"transfer.temperature {config.temperature:g} and temperature_end {config.temperature_end:g} divide scores; "
            "use numbers above 0 (30 and 1 are usual)"
        )
    if config.attention_width < 1:
        raise ConfigError(f"transfer.attention_width is {config.attention_width}; use 1 or more (16 is usual)")
    if config.query != "free" and config.granularity == "channel":
        raise ConfigError(
            f"transfer.granularity is channel, but shares that depend on examples (transfer.query {config.query}) are of "
            "whole leaves; use tensor or coarser, or transfer.query free"
        )
    if config.collapse == "distil":
        if config.query == "free":
            raise ConfigError(
                "transfer.collapse is distil, but a free query collapses into plain weights exactly, so that there is nothing "
                "to teach; use mean, or a transfer.query of latents, styles, classes or features"
            )
        if config.per == "batch":
            raise ConfigError(
                "transfer.collapse is distil, but with transfer.per batch one network makes all of a batch, so that a latent "
                "alone does not say what; use per example, or collapse mean"
            )
        if config.distil_kimg <= 0:
            raise ConfigError(
                f"transfer.distil_kimg is {config.distil_kimg:g}, so that nothing is taught; use 0.5 or more, or "
                "transfer.collapse mean"
            )
