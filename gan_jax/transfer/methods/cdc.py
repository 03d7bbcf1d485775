"""CDC, cross-domain correspondence (Ojha et al., CVPR 2021): keep similarities between samples, relax what is realistic.

Where the official code differs from the paper, this is the paper: the divergence is that of the similarities now from
those of the source, KL(now || source), which the code takes the other way round (the same to second order near the
start). The weight counts a mean over all pairs, as in the code. Anchors are judged every `anchor_every`-th step, both
networks in the same one; penalties of D are those of whole images in any step, and of the game's samples.
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
    deal_anchors,
    find_patches,
    g_layers,
    keep_anchors,
    paired_features,
    wants_source,
)
from gan_jax.transfer.method import Method, networks_of


def make(config: CDCConfig, pair: Pair) -> Method:
    """Everything is trained, D with a head for patches beside its own; G pays for similarities that change.

    Raises:
      ConfigError: G is not the source's, or D has no map of `patch_px`.
    """
    wants_source(config, "cdc")
    layers = tuple(g_layers(pair))
    consistency = Regulariser("consistency", "g", functools.partial(_consistency, config, layers))
    return relaxed(config, pair, (consistency,))


def relaxed(config: CDCConfig, pair: Pair, terms: tuple[Regulariser, ...]) -> Method:
    """Fine-tuning with relaxed realism and further terms; the start of G is kept for them."""
    patches = find_patches(pair, config.patch_px)
    constants, prepare = keep_anchors(config, pair.config.z_dim)
    return Method(
        starts=tuple(networks_of(config.networks)),
        grafts={"d": patches.graft},
        constants=constants,
        prepare=prepare,
        extension=Extension(
            regularisers=terms,
            transform=deal_anchors(config),
            capture=(patches.path,),
            logits_fn=functools.partial(patches.logits, config),
        ),
    )


def _consistency(config: CDCConfig, layers: tuple[str, ...], ctx: StepContext) -> tuple[jax.Array, Extras]:
    now, old = paired_features(ctx, layers)
    # A random layer for each sample, in which it is compared with the others.
    choice = jax.vmap(lambda key: jax.random.randint(key, (), 0, len(layers)))(ctx.keys(Purpose.CHOICE))
    chosen = jax.nn.one_hot(choice, len(layers)).T[..., None]

    def cosines(features: dict[str, jax.Array]) -> jax.Array:
        each = [off_diagonal(similarities(features[path], features[path], config.group)) for path in layers]
        return (jnp.stack(each) * chosen).sum(0)

    return config.strength * distance_consistency(cosines(now), cosines(old)).mean(), {}
