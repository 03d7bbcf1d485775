"""RSSA, relaxed spatial structural alignment (Xiao et al., CVPR 2022): keep correlations within maps and between them.

Anchors and patches are those of CDC; CDC's similarities of whole samples are left out. Correlations are those of maps
from a quarter of the image's size. They are taken within windows of half a map (its quarters, and the centre), and
between maps of latents nearby: `nearby` times a latent that the group shares plus the rest times another for each. The
paper means this; the official code computes it and does not use it. As in the code maps are averaged over 2 x 2 places
first, which makes windows cheaper, and the largest maps are left out between latents. The code gives the loss of every
sixth step a weight of a sixth; here `disturbance` is the average weight over steps, as of every lazy penalty, so that
1/36 is the same.

The paper's third part is left out: latents compressed onto the span of inverted target images in the space of styles. It
needs an inversion of every target image before the run, and a generator with styles.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from gan_jax.config import RSSAConfig
from gan_jax.losses.correspondence import cross_correlation_distance, in_groups, self_correlation_distance
from gan_jax.nets import Pair
from gan_jax.nets.conv import downsample_mean
from gan_jax.random_streams import Purpose
from gan_jax.tasks.image import draw_latents
from gan_jax.train.context import StepContext
from gan_jax.train.regularisers import Extras, Regulariser
from gan_jax.transfer.correspondence import check_source, g_layers, g_maps, paired_features
from gan_jax.transfer.method import Method
from gan_jax.transfer.methods.cdc import relaxed


def make(config: RSSAConfig, pair: Pair) -> Method:
    """Everything is trained, D with a second head for patches; G has loss terms for correlations that change.

    Raises:
      ConfigError: G is not the source's or has no maps, or D has no map of `patch_px`.
    """
    check_source(config, "rssa")
    maps = g_maps(pair)
    sizes = {path: shape[0] for path, shape in g_layers(pair).items()}
    smaller = tuple(path for path in maps if sizes[path] < pair.config.resolution) or maps
    every = lambda loss: config.disturbance_every
    within = Regulariser("self_correlation", "g", functools.partial(_within, config, maps))
    between = Regulariser("cross_correlation", "g", functools.partial(_between, config, smaller), interval=every)
    return relaxed(config, pair, (within, between) if config.disturbance else (within,))


def _within(config: RSSAConfig, paths: tuple[str, ...], ctx: StepContext) -> tuple[jax.Array, Extras]:
    now, old = paired_features(ctx, paths)
    losses = [self_correlation_distance(downsample_mean(now[path]), downsample_mean(old[path])) for path in paths]
    return config.strength * _total(losses), {}


def _between(config: RSSAConfig, paths: tuple[str, ...], ctx: StepContext) -> tuple[jax.Array, Extras]:
    z, labels = nearby(config, ctx)
    now, old = paired_features(ctx, paths, z, labels)
    losses = [cross_correlation_distance(now[path], old[path], config.group) for path in paths]
    return config.disturbance * _total(losses), {}


def nearby(config: RSSAConfig, ctx: StepContext) -> tuple[jax.Array, jax.Array | None]:
    """Latents `[B, z_dim]` around the first latent of each group, and the group's label `[B]`, that of its first."""

    def first(x: jax.Array) -> jax.Array:
        """`[B, ...]` with each sample replaced by the first of its group."""
        return jnp.repeat(in_groups(x, config.group)[:, 0], config.group, axis=0)

    z_dim = ctx.constants["anchors"].shape[1]
    centres = first(draw_latents(ctx.keys(Purpose.PAIRED_LATENTS), z_dim))
    around = draw_latents(ctx.keys(Purpose.PAIRED_NOISE), z_dim)
    labels = first(ctx.batch["label"]) if "label" in ctx.batch else None
    return config.nearby * centres + (1 - config.nearby) * around, labels


def _total(losses: list[jax.Array]) -> jax.Array:
    return sum((loss.mean() for loss in losses), start=jnp.zeros(()))
