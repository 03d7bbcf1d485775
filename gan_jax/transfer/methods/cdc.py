"""CDC, cross-domain correspondence (Ojha et al., CVPR 2021): keep similarities between samples, with relaxed realism.

Where the official code differs from the paper, this follows the paper: the divergence is KL(now || source) of the
similarities, which the code takes the other way round (the same to second order near the start). The weight is that of a
mean over all pairs, as in the code. Whole images near anchors are used in every `anchor_every`-th step, the same steps
for both networks; penalties of D are on whole images in all steps, and on the step's own samples.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from gan_jax.config import CDCConfig
from gan_jax.losses.correspondence import distance_consistency, off_diagonal, similarities
from gan_jax.nets import Pair
from gan_jax.random_streams import Purpose
from gan_jax.train.context import StepContext
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Extras, Regulariser
from gan_jax.transfer.correspondence import (
    anchor_constants,
    anchor_latents,
    check_source,
    find_patches,
    g_layers,
    paired_features,
)
from gan_jax.transfer.method import Method, networks_of


def make(config: CDCConfig, pair: Pair) -> Method:
    """Everything is trained, D with a second head for patches; G has a loss term for similarities that change.

    Raises:
      ConfigError: G is not the source's, or D has no map of `patch_px`.
    """
    check_source(config, "cdc")
    layers = tuple(g_layers(pair))
    consistency = Regulariser("consistency", "g", functools.partial(_consistency, config, layers))
    return relaxed(config, pair, (consistency,))


def relaxed(config: CDCConfig, pair: Pair, terms: tuple[Regulariser, ...]) -> Method:
    """Fine-tuning with relaxed realism and further loss terms, which read the start of G in the constants."""
    patches = find_patches(pair, config.patch_px)
    constants, prepare = anchor_constants(config, pair.config.z_dim)
    return Method(
        starts=tuple(networks_of(config.networks)),
        grafts={"d": patches.graft},
        constants=constants,
        prepare=prepare,
        extension=Extension(
            regularisers=terms,
            transform=anchor_latents(config),
            capture=(patches.path,),
            logits_fn=functools.partial(patches.logits, config),
        ),
    )


def _consistency(config: CDCConfig, layers: tuple[str, ...], ctx: StepContext) -> tuple[jax.Array, Extras]:
    now, old = paired_features(ctx, layers)
    # Each sample is compared with the others in one random layer.
    choice = jax.vmap(lambda key: jax.random.randint(key, (), 0, len(layers)))(ctx.keys(Purpose.CHOICE))
    mask = jax.nn.one_hot(choice, len(layers)).T[..., None]

    def cosines(features: dict[str, jax.Array]) -> jax.Array:
        by_layer = [off_diagonal(similarities(features[path], features[path], config.group)) for path in layers]
        return (jnp.stack(by_layer) * mask).sum(0)

    return config.strength * distance_consistency(cosines(now), cosines(old)).mean(), {}
