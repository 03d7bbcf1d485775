"""Ranks of donors before training: distance of samples from the target's images, and fit of discriminators."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config import ConfigError
from gan_jax.metrics import extract, load_features
from gan_jax.metrics.kernel import mmd2
from gan_jax.nets import Pair
from gan_jax.seeds import root_key
from gan_jax.tasks.sample import make_sampler
from gan_jax.train.context import StepContext
from gan_jax.train.state import Variables
from gan_jax.transfer.fisher import adversarial_loss, estimate, examples
from gan_jax.transfer.preparation import PrepareContext

# ----------------------------------------------------------------------------------------------------------------------
# The distance of a generator's samples from a run's few training images, by which sources are chosen before training.


def make_distance(context: PrepareContext, pair: Pair, samples: int) -> Callable[[Variables], float]:
    """Makes `G's variables -> unbiased MMD^2` (KID's kernel) of its samples and the training images, on the run's features.

    Raises:
      ConfigError: the training images are not in memory, or the run measures nothing.
    """
    if context.feed.resident is None:
        raise ConfigError("a source is chosen by images in memory; use data.pipeline device")
    if context.config.evaluate.features is None:
        raise ConfigError("a source is chosen by features, but evaluate.features is None; use fashion-v1")
    net, sampler = load_features(context.config.evaluate.features), make_sampler(pair)
    real = extract(net, context.feed.resident["image"]).values

    def distance(g: Variables) -> float:
        images = sampler(g, root_key(context.config.evaluate.seed), samples)
        return mmd2(real, extract(net, images).values)

    return distance


# ----------------------------------------------------------------------------------------------------------------------
# Choosing one of several discriminators by its loss on the target.

SAMPLES = 256  # real and generated images for the loss of each D


def best_discriminator(
    context: PrepareContext, choices: Sequence[Variables], g: Variables
) -> tuple[Variables, list[float]]:
    """The D with the least adversarial loss on the target's images and G's samples, and the losses of all."""

    def loss(ctx: StepContext) -> jax.Array:
        value = adversarial_loss(ctx, "d")
        losses = jax.lax.map(lambda example: value(ctx.constants["g"], ctx.constants["d"], example), examples(ctx))
        return ctx.sync(losses.mean())

    losses = [float(estimate(context, g, d, SAMPLES, loss, like=jnp.zeros(()))) for d in choices]
    return choices[int(np.argmin(losses))], losses
