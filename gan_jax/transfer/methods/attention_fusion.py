"""Attention-based fusion in the space of weights: a learned query sets the mixing weight of each donor in a block.

The mixing weights are defined in `fusion.attention`. Gates are zero at first, so that the stage begins exactly as the
source; the softmax's temperature falls over the stage, so that mixing weights stay almost equal until D has learned. A
free query collapses into plain weights exactly. A query that is computed from latents, styles, classes or features
(`fusion.attention.conditional`) has mixing weights for every example while it learns. It collapses to their running mean. With
`collapse` distil a plain G, the student, begins at this mean and is distilled for `distil_kimg` from the frozen mixture,
by the distance between images of the same latents. Then everything is fine-tuned.

A softmax over one donor is 1 whatever the query. `with_source` makes the source a slot of it: with `gate` 1, a low
temperature and `granularity` global a latent decides whether the source or a donor makes its image. `aligner` is A of the
formula in `fusion.mixture`, as in Zoo-Tuning: donors' channels are mapped before they are mixed, and the maps are baked.
With `keys` descriptor a donor's key is a trained map of a description of its images (`fusion.attention.describe`), so that
similar donors have similar mixing weights.

Translators have no latents, styles or classes: their queries are free, or computed from the features of the image that they
translate.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.config import AttentionFusionConfig, ConfigError, DistillationConfig
from gan_jax.fusion.attention import (
    MEAN,
    TEMPERATURE,
    Attention,
    Conditional,
    annealed_temperature,
    conditional,
    describe,
    plain_target,
    source_of,
    standardised,
    update_running_mean,
)
from gan_jax.fusion.mixture import Gate, Mixture, spatial_kernels
from gan_jax.nets import Networks
from gan_jax.nets.build import example_inputs
from gan_jax.reserved import ADAPTER, GATE
from gan_jax.roots import is_reversed
from gan_jax.tasks.inputs import reader
from gan_jax.train.context import StepContext
from gan_jax.train.regularisers import Network
from gan_jax.train.state import GanState, Variables
from gan_jax.transfer.donors import Donors
from gan_jax.transfer.fusing import Fusing, Mixtures, fusion
from gan_jax.transfer.method import Method
from gan_jax.transfer.preparation import PrepareContext
from gan_jax.transfer.probes import draw_probes


def make(config: AttentionFusionConfig, plain: Networks) -> Method:
    """Queries, keys and gates are learned for `fuse_kimg`, then everything is fine-tuned.

    Raises:
      ConfigError: as `fusion`; a temperature that is not above 0; a width below 1; a query that these networks cannot
        compute; mixing weights of channels that depend on examples; distillation where mixing weights do not depend on
        latents, or with no images; an aligner without kernels for it.
    """
    _check(config)
    if config.aligner and not spatial_kernels(plain.nets[plain.generators[0]].specs()["params"]):
        raise ConfigError(
            f"transfer.aligner maps the output channels of kernels above 1x1, but {type(plain.config).__name__} has none; use "
            "False"
        )
    attention: dict[str, Any] = {
        "width": config.attention_width,
        "gate": config.gate,
        "temperature": config.temperature,
        "with_source": config.with_source,
    }
    try:
        query = config.query
        sources = {} if query == "free" else {name: source_of(query, plain, name) for name in plain.generators}
    except ValueError as error:
        raise ConfigError(f"transfer.query is {config.query}: {error}") from None

    def gate(
        context: PrepareContext,
        group: Callable[[str], str],
        start: dict[str, Variables],
        donors: Donors,
        network: Network,
    ) -> Gate:
        count, options = len(donors.names), dict(attention)
        if config.keys == "descriptor":  # of Gs, also for Ds
            of = next(g for g, d in plain.judges.items() if network in (g, d))
            every = descriptors(context, plain, of, [start[of], *donors.nets[of]])
            options["descriptors"] = every[0 if config.with_source else 1 :]
        if network not in sources:
            return Attention(count, **options)
        inputs = jax.eval_shape(sources[network], start[network], *_inputs(plain, network)).shape[-1]
        return Conditional(count, inputs=inputs, **options)

    def post_step(mixtures: Mixtures, before: GanState, state: GanState, ctx: StepContext) -> GanState:
        progress = state.images.astype(jnp.float32) / (1000 * config.fuse_kimg)
        temperature = annealed_temperature(config.temperature, config.temperature_end, progress)
        means = {name: mean(mixtures[name], name, state, ctx) for name in sources}

        def updated(name: str, variables: Variables) -> Variables:
            if ADAPTER not in variables["params"]:
                return variables
            changes = {MEAN: means[name]} if name in means else {}
            return _with_gate(variables, {TEMPERATURE: temperature, **changes})

        nets = {name: updated(name, variables) for name, variables in state.nets.items()}
        return state.replace(nets=nets, ema={name: updated(name, average) for name, average in state.ema.items()})

    def mean(mixture: Mixture, name: str, state: GanState, ctx: StepContext) -> Any:
        """The running mean of a generator's attention, after the examples of a context."""
        variables, x = state.nets[name], reader(plain, name)(ctx.batch, ctx.latent_keys)
        inputs = sources[name](plain_target(variables), x, ctx.batch.get("label"))
        return update_running_mean(mixture, variables["params"], inputs, ctx.sync)[ADAPTER][GATE][MEAN]

    fusing = Fusing(gate, post_step=post_step, aligner=config.aligner)
    if query == "free":
        return fusion(config, plain, fusing)
    net = lambda stage, name, mixture: conditional(stage, mixture, sources[name], config.per, name)
    settings = DistillationConfig(distil_kimg=config.distil_kimg, distil_lr=config.distil_lr)
    distillation = settings if config.collapse == "distil" else None
    return fusion(config, plain, dataclasses.replace(fusing, net=net, distillation=distillation))


def descriptors(context: PrepareContext, plain: Networks, name: str, every: Sequence[Variables]) -> jax.Array:
    """Descriptors `[N, M]` of N generators, from what they make of the same inputs, standardised over the generators.

    Args:
      context: has the data.
      plain: plain networks.
      name: of the generator.
      every: variables of the generators.
    """
    x, labels = draw_probes(context, plain, name, jax.random.key(0))
    make = jax.jit(lambda g: describe(plain.nets[name].apply(g, x, labels)[0]))
    return standardised(jnp.stack([make(g) for g in every]))


def _inputs(plain: Networks, name: str) -> tuple[Any, Any]:
    """Example inputs of a generator, latents or images, and its classes."""
    config: Any = plain.config
    return example_inputs(config.reversed if is_reversed(name) else config)[0]


def _with_gate(variables: Variables, changes: dict[str, Any]) -> Variables:
    params = variables["params"]
    gate = {**params[ADAPTER][GATE], **changes}
    return {**variables, "params": {**params, ADAPTER: {**params[ADAPTER], GATE: gate}}}


def _check(config: AttentionFusionConfig) -> None:
    if config.aligner and config.shard_donors:
        raise ConfigError(
            "transfer.aligner maps all output channels of a donor, but with transfer.shard_donors no device has all of them; "
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
            f"transfer.granularity is channel, but mixing weights that depend on examples (transfer.query {config.query}) "
            "are of whole leaves; use tensor or coarser, or transfer.query free"
        )
    if config.collapse == "distil":
        if config.query == "free":
            raise ConfigError(
                "transfer.collapse is distil, but a free query collapses into plain weights exactly, so that there is nothing "
                "to distil; use mean, or a transfer.query of latents, styles, classes or features"
            )
        if config.per == "batch":
            raise ConfigError(
                "transfer.collapse is distil, but with transfer.per batch one network makes all images of a batch, so that an "
                "image does not depend on its latent alone; use per example, or collapse mean"
            )
        if config.distil_kimg <= 0:
            raise ConfigError(
                f"transfer.distil_kimg is {config.distil_kimg:g}, so that nothing is distilled; use 0.5 or more, or "
                "transfer.collapse mean"
            )
