"""The task of images from label maps (SPADE; Park et al., 2019).

G is updated first: the adversarial loss, the distance of D's features of the image from those of the real one with the same
labels, and that of a VGG's features. D follows, on images that the updated G makes, with the whole loss of both sides. D
has several scales, each of which counts as much, whatever its size.

As published, every pass in training mode moves the vectors of spectral norm on and keeps them, also those of the network that
is not updated: a step moves those of G twice (its own update, the images for D) and those of D twice (G's update, its own).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp

from gan_jax.config import Config, LayoutTask, SPADEConfig
from gan_jax.losses import whole
from gan_jax.losses.matching import feature_matching, perceptual
from gan_jax.metrics.perceptual import load_compared
from gan_jax.nets import Pair
from gan_jax.nets.spade import semantics
from gan_jax.random_streams import Purpose
from gan_jax.tasks.translation import adapting, logits_metrics, no_capture, pair_functions
from gan_jax.train.context import Batch, DOutput, LossOutput, StepContext
from gan_jax.train.extension import NO_EXTENSION, Extension
from gan_jax.train.feed import init_augment
from gan_jax.train.state import Networks, Variables
from gan_jax.train.task import Extras, Phase, Task

Scales = list[list[jax.Array]]  # for each scale of D the outputs of its layers, the last one its logits
Features = tuple[Any, Callable[[Any, jax.Array], Sequence[jax.Array]]]  # weights, (weights, images) -> maps
FEATURES = "perceptual"  # in the extras: weights of the network of features


def layout_task(
    pair: Pair, config: Config, extension: Extension = NO_EXTENSION, features: Features | None = None
) -> Task:
    """Makes the task of a generator `g` and a discriminator `d`.

    Batches are `{"input": [B, H, W] int32 labels, "image": [B, H, W, C] float in [-1, 1]}`, and `"instance": [B, H, W] int32`
    where `net.edges`.

    Args:
      pair: of SPADE.
      config: of the run.
      extension: additions of a transfer method.
      features: network of the perceptual term; None = the published VGG, where the task has that term.

    Raises:
      ConfigError: a method that looks inside D.
      MetricError: the weights of VGG are not in the cache.
    """
    options, net = config.task, config.net
    assert isinstance(options, LayoutTask) and isinstance(net, SPADEConfig)
    no_capture(extension, "layout")
    loss = whole(config.loss.name)
    if options.perceptual > 0 and features is None:
        features = published_features(options.features)

    def encoded(batch: Batch) -> jax.Array:
        return semantics(net, batch["input"], batch.get("instance"))

    def generate(ctx: StepContext) -> tuple[jax.Array, Variables]:
        return ctx.task.generate(ctx.g, ctx.batch, ctx.latent_keys, True)

    run_d = cast(Any, pair.d.parts["features"])

    def moved_on(ctx: StepContext) -> tuple[StepContext, Networks]:
        """Keeps what G's update would make of D's vectors, which do not depend on its input; so no pass is computed."""
        if not extension.adversarial:
            return ctx, {}
        nothing = jnp.zeros((1, *ctx.real.shape[1:]))
        collections = dict(run_d(ctx.d, nothing, train=True, mutable=["spectral"])[1])
        return ctx.with_nets(d={**ctx.d, **collections}), {"d": collections}

    def scales(
        ctx: StepContext, real: jax.Array, fake: jax.Array, train: bool
    ) -> tuple[Scales, Scales, Variables]:  # fmt: skip
        """D's outputs of both sides in one pass, real and generated, and its collections; its only state are vectors."""
        both = jnp.concatenate([fake, real])
        if train:
            maps, collections = run_d(ctx.d, both, train=True, mutable=["spectral"])
        else:
            maps, collections = run_d(ctx.d, both), {}
        n = len(fake)
        part = lambda rows: jax.tree_util.tree_map(lambda x: x[rows], maps)
        return part(slice(n, None)), part(slice(n)), dict(collections)

    def over_scales(ctx: StepContext, real: Scales, fake: Scales, side: int) -> jax.Array:
        """The adversarial loss `[]` of D (0) or G (1), a mean over scales."""
        logits = lambda maps: extension.logits_fn(ctx, DOutput(maps[-1], {}))
        values = [loss(logits(r), logits(f))[side].mean() for r, f in zip(real, fake, strict=True)]
        return sum(values, start=jnp.zeros(())) / len(values)

    def g_loss(ctx: StepContext) -> LossOutput:
        sample, collections = generate(ctx)
        ctx = ctx.replace(fake=sample, g_collections=collections)
        if not extension.adversarial:
            return LossOutput(jnp.zeros(()), ctx, {"g": collections}, {"loss_g": jnp.zeros(())})
        # The same augmentation of both, or their features could not be compared.
        augment = lambda x: ctx.augmented(x, Purpose.AUGMENT_FAKE)
        real, fake, _ = scales(ctx, augment(ctx.real), augment(sample), train=False)
        adversarial = over_scales(ctx, real, fake, 1)
        value, terms = adversarial * extension.weight(ctx, "g"), {}
        if options.matching > 0:
            terms["matching"] = feature_matching(fake, real).mean()
            value += options.matching * terms["matching"]
        if features is not None:
            maps = functools.partial(features[1], ctx.extras[FEATURES])
            image = sample[..., net.in_channels :]
            terms["perceptual"] = perceptual(maps(image), maps(ctx.batch["image"])).mean()
            value += options.perceptual * terms["perceptual"]
        return LossOutput(value, ctx, {"g": collections}, {"loss_g": adversarial, **terms})

    def inputs(ctx: StepContext) -> tuple[StepContext, Networks]:
        fake, collections = generate(ctx)
        return ctx.replace(fake=jax.lax.stop_gradient(fake)), {"g": collections}

    def d_loss(ctx: StepContext) -> LossOutput:
        x_real, x_fake = ctx.augmented(ctx.real, Purpose.AUGMENT_REAL), ctx.augmented(ctx.fake, Purpose.AUGMENT_FAKE)
        real, fake, collections = scales(ctx, x_real, x_fake, train=True)
        value = over_scales(ctx, real, fake, 0)
        logits = (flat_logits(real), flat_logits(fake))
        ctx = ctx.replace(x_real=x_real, x_fake=x_fake, logits=logits)
        return LossOutput(
            value * extension.weight(ctx, "d"), ctx, {"d": collections}, logits_metrics(value, *logits)
        )  # fmt: skip

    def init_extras() -> Extras:
        kept = {} if features is None else {FEATURES: jax.tree_util.tree_map(jnp.asarray, features[0])}
        return init_augment(config.augment) | kept

    return Task(
        nets=dict(pair.nets),
        phases=(
            Phase("g", ("g",), g_loss, moved_on, start_kimg=config.d_warmup_kimg),
            Phase(
                "d", ("d",), d_loss, inputs, latent_keys=lambda ctx: ctx.keys(Purpose.D_LATENTS),
                repeats=config.train.d_steps, counts=True, lr=config.optim.d_lr, post_update=adapting(config),
                end_kimg=None if extension.adversarial else 0.0,
            ),
        ),
        init_extras=init_extras,
        **pair_functions(pair, config, encoded),
    )  # fmt: skip


def flat_logits(scales: Scales) -> jax.Array:
    """The logits of all patches, scale by scale, `[B, P]`."""
    return jnp.concatenate([maps[-1].reshape(len(maps[-1]), -1) for maps in scales], axis=1)


@functools.cache
def published_features(network: str) -> Features:
    """The features that the perceptual term compares, with weights from the cache."""
    return load_compared(network)
