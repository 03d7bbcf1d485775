"""What tasks of images from images share: D's inputs of one or two images, their augmentation, adversarial terms of D and G.

The input of D is an image, or with `net.d_condition` the image that went in and the one that came out, joined along the
channels. An augmentation does the same to both, and gradient penalties are of the second alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.augment import ada, diff_augment
from gan_jax.augment.ada import PIPES
from gan_jax.augment.diffaugment import AUGMENTATIONS
from gan_jax.config import AugmentConfig, Config, ConfigError
from gan_jax.losses import whole
from gan_jax.nets import Pair
from gan_jax.random_streams import Purpose
from gan_jax.train.context import Batch, DOutput, LossOutput, StepContext
from gan_jax.train.extension import Extension
from gan_jax.train.feed import adapt_augment
from gan_jax.train.state import Networks, Variables
from gan_jax.train.task import Extras, Metrics, Phase

COLOURED = (1, 3, 4)  # numbers of channels of images, whose colours can change
REGULARISERS = ("penalty", "lecam", "bcr", "orthogonal_d", "orthogonal_g")  # those without latents

# ----------------------------------------------------------------------------------------------------------------------
# D's input: `[B, H, W, C]`, or `[B, H, W, in + C]` where D sees both images.


def joined(x: jax.Array, image: jax.Array, both: bool) -> jax.Array:
    """D's input of an image and the one that it was made from."""
    return jnp.concatenate([x.astype(image.dtype), image], -1) if both else image


def of_image_alone(sample: jax.Array, in_channels: int) -> jax.Array:
    """The same input with a gradient for its last channels alone, the image that D judges."""
    x, image = sample[..., :in_channels], sample[..., in_channels:]
    return jnp.concatenate([jax.lax.stop_gradient(x), image], -1)


# ----------------------------------------------------------------------------------------------------------------------
# Augmentation of D's inputs.


def augmented(
    config: AugmentConfig, keys: jax.Array, sample: jax.Array, p: jax.Array | None, in_channels: int = 0
) -> jax.Array:
    """Augments D's inputs; both images of one input in the same way.

    Colours change in images of 1, 3 or 4 channels; other inputs, such as labels, are only moved, mirrored and cut.

    Args:
      config: policy, or ADA.
      keys: `[B]`.
      sample: D's inputs.
      p: `[]` strength of ADA; None = the configuration's.
      in_channels: channels of the first image of an input; 0 = there is only one.
    """
    if config.ada is not None:
        pipe, strength = config.ada, config.ada_p if p is None else p
        return _each(sample, in_channels, lambda x: _ada(pipe, strength, keys, x))
    return vary(config.policy, keys, sample, in_channels)


def vary(policy: Sequence[str], keys: jax.Array, sample: jax.Array, in_channels: int = 0) -> jax.Array:
    """Applies a policy of DiffAugment to D's inputs, to both images of one input in the same way."""

    def apply(x: jax.Array) -> jax.Array:
        if x.shape[-1] in COLOURED:
            return diff_augment(policy, keys, x)
        for i, name in enumerate(policy):
            if name != "color":  # the draws of a transform depend on its position
                x = AUGMENTATIONS[name](jax.vmap(jax.random.fold_in, (0, None))(keys, i), x)
        return x

    return _each(sample, in_channels, apply)


def _each(sample: jax.Array, in_channels: int, change: Callable[[jax.Array], jax.Array]) -> jax.Array:
    if in_channels == 0:
        return change(sample)
    return jnp.concatenate([change(sample[..., :in_channels]), change(sample[..., in_channels:])], -1)


def _ada(pipe: str, p: jax.Array | float, keys: jax.Array, x: jax.Array) -> jax.Array:
    """ADA of inputs with any number of channels, each channel of which is an image to those that move and cut."""
    if x.shape[-1] in COLOURED:
        return ada(pipe, p, keys, x)
    has = lambda name: set(PIPES[name]) <= set(PIPES[pipe])
    moving = ["bg"] if has("bg") else [name for name in ("blit", "geom") if has(name)]
    channels = jnp.moveaxis(x, -1, 0)[..., None]
    for name in (*moving, *(["cutout"] if has("cutout") else [])):
        channels = jax.vmap(lambda images, name=name: ada(name, p, keys, images))(channels)
    return jnp.moveaxis(channels[..., 0], 0, -1)


# ----------------------------------------------------------------------------------------------------------------------
# The functions of a task with one G and one D.


def pair_functions(
    pair: Any, config: Config, encoded: Callable[[Batch], jax.Array] = lambda batch: batch["input"]
) -> dict[str, Any]:
    """The functions of a `Task` whose `g` translates a batch's input, and whose `d` judges the result.

    Args:
      pair: has `nets["g"]` and `nets["d"]`.
      config: of networks and augmentation.
      encoded: `batch -> [B, H, W, in_channels]`, the input as G and D see it.
    """
    net: Any = config.net
    g, d, both = pair.nets["g"], pair.nets["d"], net.d_condition
    in_channels = net.in_channels if both else 0

    def generate(g_vars: Variables, batch: Batch, keys: jax.Array, train: bool) -> tuple[jax.Array, Variables]:
        x = encoded(batch)
        image, collections = g.apply(g_vars, x, train=train, keys=keys)
        return joined(x, image, both), collections

    def judged(sample: jax.Array) -> jax.Array:
        return of_image_alone(sample, in_channels) if both else sample

    return {
        "generate": generate,
        "discriminate": lambda d_vars, sample, batch, train: d.apply(d_vars, judged(sample), train=train),
        "discriminate_capturing": lambda d_vars, sample, batch, train: d.apply_with_intermediates(
            d_vars, judged(sample), train=train
        ),
        "g_intermediates": lambda g_vars, batch, keys: g.activations(g_vars, encoded(batch)),
        "d_intermediates": lambda d_vars, sample, batch: d.activations(d_vars, sample),
        "real": lambda batch: joined(encoded(batch), batch["image"], both),
        "augment": lambda keys, sample, p: augmented(config.augment, keys, sample, p, in_channels),
        "vary": lambda names, keys, sample: vary(names, keys, sample, in_channels),
        "regularisers": REGULARISERS,
        "examples_mix": examples_mix(pair, config),
    }


def examples_mix(networks: Any, config: Config) -> bool:
    """Whether examples influence each other inside D."""
    return networks.examples_mix if isinstance(networks, Pair) else config.net.batch_norm_in_d


# ----------------------------------------------------------------------------------------------------------------------
# Adversarial terms. Logits of any shape are averaged.


def d_value(
    ctx: StepContext, config: Config, extension: Extension, real: DOutput, fake: DOutput, network: str, share: float
) -> jax.Array:
    """A discriminator's loss `[]`: `share` of the sum of both sides, 1/2 in pix2pix, CycleGAN and CUT."""
    loss = whole(config.loss.name)
    value = share * loss(extension.logits_fn(ctx, real), extension.logits_fn(ctx, fake))[0].mean()
    return value * extension.weight(ctx, network)


def g_value(ctx: StepContext, config: Config, extension: Extension, fake: DOutput) -> jax.Array:
    """A generator's adversarial loss `[]`."""
    logits = extension.logits_fn(ctx, fake)
    return whole(config.loss.name)(jnp.zeros_like(logits), logits)[1].mean()


def logits_metrics(value: jax.Array, real: jax.Array, fake: jax.Array) -> Metrics:
    """What is logged of an update of D; ADA adapts to the sign."""
    return {
        "loss_d": value,
        "logits_real": real.mean(),
        "logits_fake": fake.mean(),
        "sign_real": jnp.sign(real).mean(),
    }


def adapting(config: Config) -> Callable[[Extras, Metrics, jax.Array], Extras]:
    """Makes the hook after D's updates that adapts the strength of ADA."""

    def adapt(extras: Extras, metrics: Metrics, updates: jax.Array) -> Extras:
        return adapt_augment(config.augment, extras, metrics["sign_real"], updates, config.train.batch)

    return adapt


def judging(
    config: Config,
    extension: Extension,
    inputs: Callable[[StepContext], tuple[StepContext, Networks]],
    latent_keys: Callable[[StepContext], jax.Array],
    share: float = 0.5,
) -> Phase:
    """Makes the phase `d` of a task with one D: the adversarial loss of both sides.

    Args:
      config, extension: of the run.
      inputs: sets `fake`, D's generated inputs, in a context.
      latent_keys: of G's draws.
      share: see `d_value`.
    """

    def loss(ctx: StepContext) -> LossOutput:
        x_real, x_fake = ctx.augmented(ctx.real, Purpose.AUGMENT_REAL), ctx.augmented(ctx.fake, Purpose.AUGMENT_FAKE)
        real, fake, collections = ctx.discriminate(x_real, x_fake)
        value = d_value(ctx, config, extension, real, fake, "d", share)
        ctx = ctx.replace(
            x_real=x_real, x_fake=x_fake, logits=(real.logits, fake.logits),
            intermediates=(real.intermediates, fake.intermediates),
        )  # fmt: skip
        return LossOutput(value, ctx, {"d": collections}, logits_metrics(value, real.logits, fake.logits))

    return Phase(
        "d", ("d",), loss, inputs, latent_keys=latent_keys, repeats=config.train.d_steps, counts=True,
        lr=config.optim.d_lr, post_update=adapting(config), end_kimg=None if extension.adversarial else 0.0,
    )  # fmt: skip


def fooling(ctx: StepContext, config: Config, extension: Extension, sample: jax.Array) -> tuple[jax.Array, StepContext]:
    """G's adversarial loss `[]` of D's inputs, augmented; and the context with what D said. 0 without such a loss."""
    if not extension.adversarial:
        return jnp.zeros(()), ctx
    output = ctx.discriminate_one(ctx.augmented(sample, Purpose.AUGMENT_FAKE))
    return g_value(ctx, config, extension, output), ctx.replace(intermediates=({}, output.intermediates))


def no_capture(extension: Extension, task: str) -> None:
    """Raises ConfigError where a method looks inside D, in a task with several or with several scales."""
    if extension.capture:
        raise ConfigError(
            f"the method looks inside D ({', '.join(extension.capture)}), which the task {task} does not offer; "
            "use another method"
        )
