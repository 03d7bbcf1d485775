"""Ranks of donors before training: distance of samples from the target's images, and fit of discriminators."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config import ConfigError
from gan_jax.data.convert import to_uint8
from gan_jax.metrics import extract, load_features
from gan_jax.metrics.kernel import mmd2
from gan_jax.nets import Net, Networks, Pair
from gan_jax.roots import is_reversed
from gan_jax.seeds import root_key
from gan_jax.tasks.sample import make_sampler
from gan_jax.train.context import StepContext
from gan_jax.train.state import Variables
from gan_jax.transfer.fisher import adversarial_loss, estimate, examples
from gan_jax.transfer.preparation import PrepareContext
from gan_jax.transfer.probes import draw_probes

CHUNK = 16  # images in one call of a translator

# ----------------------------------------------------------------------------------------------------------------------
# The distance of a generator's samples from a run's few training images, by which sources are chosen before training.


def make_distance(
    context: PrepareContext, nets: Networks, samples: int, name: str = "g"
) -> Callable[[Variables], float]:
    """Makes `a generator's variables -> unbiased MMD^2` (KID's kernel) of its samples and the training images.

    They are compared by the run's features. Samples of a translator are its translations of the run's inputs; those of the
    way back, from images, are compared with the inputs.

    Args:
      context: of the preparation.
      nets: plain networks.
      samples: number of samples.
      name: of the generator.

    Raises:
      ConfigError: the training images are not in memory, or the run measures nothing.
    """
    if context.feed.resident is None:
        raise ConfigError("a source is chosen by images in memory; use data.pipeline device")
    if context.config.evaluate.features is None:
        raise ConfigError("a source is chosen by features, but evaluate.features is None; use fashion-v1")
    net, key = load_features(context.config.evaluate.features), root_key(context.config.evaluate.seed)
    made = "input" if is_reversed(name) else "image"
    real = extract(net, np.asarray(context.feed.resident[made])).values
    if nets.config.translates:
        x, _ = draw_probes(context, nets, name, key, samples)
        sample = _in_chunks(nets.nets[name], x)
    else:
        assert isinstance(nets, Pair)
        sampler = make_sampler(nets)
        sample = lambda g: sampler(g, key, samples)
    return lambda g: mmd2(real, extract(net, sample(g)).values)


def _in_chunks(net: Net, x: jax.Array) -> Callable[[Variables], np.ndarray]:
    """Makes `variables -> uint8 [n, H, W, C]`, what a translator makes of images, a few at a time."""
    translate = jax.jit(lambda g, part: to_uint8(net.apply(g, part)[0]))
    return lambda g: np.concatenate([translate(g, x[i : i + CHUNK]) for i in range(0, len(x), CHUNK)])


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
