"""DCL, dual contrastive learning (Zhao et al., CVPR 2022): each sample is to be told from others by its source's features.

In G's ctx, the features of a sample in G now are to be nearest, within its group, to those that the source's G had of the
same latent. In D's, the features that D has of a generated image are to be nearer to those that it has of the source's
image of the same latent than to those of the group's real images, which keeps D from copying what few images there are.
There is no official code; features of all blocks count alike.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from gan_jax.config import DCLConfig
from gan_jax.losses.correspondence import contrast, diagonal, off_diagonal, similarities
from gan_jax.nets import Pair
from gan_jax.random_streams import Purpose
from gan_jax.train.context import StepContext
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Extras, Regulariser
from gan_jax.transfer.correspondence import d_layers, g_layers, paired_features, wants_source
from gan_jax.transfer.method import Method, networks_of


def make(config: DCLConfig, pair: Pair) -> Method:
    """Everything is trained; each network pays for a contrast in its own features.

    Raises:
      ConfigError: G is not the source's.
    """
    wants_source(config, "dcl")
    of_g, of_d = tuple(g_layers(pair)), tuple(d_layers(pair))
    return Method(
        starts=tuple(networks_of(config.networks)),
        constants=lambda nets: {"g": nets["g"]},
        extension=Extension(
            regularisers=(
                Regulariser("contrast_g", "g", functools.partial(_in_g, config, of_g)),
                Regulariser("contrast_d", "d", functools.partial(_in_d, config)),
            ),
            capture=of_d,
        ),
    )


def _in_g(config: DCLConfig, paths: tuple[str, ...], ctx: StepContext) -> tuple[jax.Array, Extras]:
    now, old = paired_features(ctx, paths)
    rows = [similarities(now[path], old[path], config.group) for path in paths]
    parts = [contrast(diagonal(one), off_diagonal(one), config.temperature) for one in rows]
    return config.g_strength * jnp.stack(parts).mean(), {}


def _in_d(config: DCLConfig, ctx: StepContext) -> tuple[jax.Array, Extras]:
    assert ctx.intermediates is not None
    real, fake = ctx.intermediates
    # The same latents, noise and augmentation as those of the generated images.
    image = ctx.task.generate(ctx.constants["g"], ctx.batch, ctx.latent_keys, True)[0]
    source = ctx.discriminate_one(ctx.augmented(jax.lax.stop_gradient(image), Purpose.AUGMENT_FAKE)).intermediates
    parts = []
    for path in ctx.capture:
        positive = diagonal(similarities(fake[path], source[path], config.group))
        negatives = similarities(fake[path], real[path], config.group)
        parts.append(contrast(positive, negatives, config.temperature))
    return config.d_strength * jnp.stack(parts).mean(), {}
