"""The distance of a generator's samples from a run's few training images, by which sources are chosen before training."""

from __future__ import annotations

from collections.abc import Callable

from gan_jax.config import ConfigError
from gan_jax.metrics import extract, load_features
from gan_jax.metrics.kernel import mmd2
from gan_jax.nets import Pair
from gan_jax.seeds import root_key
from gan_jax.tasks.sample import make_sampler
from gan_jax.train.state import Variables
from gan_jax.transfer.preparation import PrepareContext


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
