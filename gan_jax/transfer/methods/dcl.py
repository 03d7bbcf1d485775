"""DCL, dual contrastive learning (Zhao et al., CVPR 2022): samples keep what distinguishes them in the source.

In G's update, the features of a sample in G should be nearest, within its group, to those of the same latent in the
source's G. In D's update, D's features of a generated image should be nearer to its features of the source's image of the
same latent than to its features of the group's real images, so that D does not copy the few images there are. There is
no official code; features of all blocks have the same weight.
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
from gan_jax.transfer.correspondence import check_source, d_layers, g_layers, paired_features
from gan_jax.transfer.method import Method, networks_of


def make(config: DCLConfig, pair: Pair) -> Method:
    """Everything is trained; each network has a contrastive loss in its own features.

    Raises:
      ConfigError: G is not the source's.
    """
    check_source(config, "dcl")
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
    cosines = [similarities(now[path], old[path], config.group) for path in paths]
    losses = [contrast(diagonal(cosine), off_diagonal(cosine), config.temperature) for cosine in cosines]
    return config.g_strength * jnp.stack(losses).mean(), {}


def _in_d(config: DCLConfig, ctx: StepContext) -> tuple[jax.Array, Extras]:
    assert ctx.intermediates is not None
    real, fake = ctx.intermediates
    # The same latents, noise and augmentation as those of the generated images.
    image = ctx.task.generate(ctx.constants["g"], ctx.batch, ctx.latent_keys, True)[0]
    source = ctx.discriminate_one(ctx.augmented(jax.lax.stop_gradient(image), Purpose.AUGMENT_FAKE)).intermediates
    losses = []
    for path in ctx.capture:
        positive = diagonal(similarities(fake[path], source[path], config.group))
        negatives = similarities(fake[path], real[path], config.group)
        losses.append(contrast(positive, negatives, config.temperature))
    return config.d_strength * jnp.stack(losses).mean(), {}
