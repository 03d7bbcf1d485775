"""Distillation as a stage: a plain G, the student, learns its teachers' images, without D.

Translators are given the inputs of the data; other generators need none.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.config import ConfigError, DistillationConfig, OptimConfig
from gan_jax.fusion.teachers import Distillation, attach, plain, trains, with_teachers
from gan_jax.metrics.networks import NETWORKS, PERCEPTUAL
from gan_jax.metrics.perceptual import load_perceptual
from gan_jax.nets import Net, Pair
from gan_jax.nets.build import Variables
from gan_jax.nets.features.perceptual import lpips
from gan_jax.random_streams import DISTIL_KEY
from gan_jax.reserved import DISTANCES
from gan_jax.train.context import StepContext
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Regulariser
from gan_jax.train.state import Networks as StateNetworks
from gan_jax.transfer.donors import check_donors
from gan_jax.transfer.preparation import PrepareContext, no_leaf

Rows = list[dict[str, Any]]


def distil_teachers(
    context: PrepareContext,
    config: DistillationConfig,
    nets: StateNetworks,
    teachers: Sequence[Variables],
    shares: Sequence[float],
    points: Sequence[str],
    teacher: Callable[[Any], Net] = lambda stage: stage.nets["g"],
) -> tuple[StateNetworks, int, Rows]:
    """Distils teachers into G: `(networks, images, rows)`, the trained student and the others unchanged.

    Args:
      context: of the preparation.
      config: length, choice of a teacher for each example, and weights of the loss terms.
      nets: variables of the student, `g`, and of other networks, which are not used.
      teachers: variables of the teachers.
      shares: share of the examples that the student learns from each.
      points: modules whose features are compared, where these have a weight.
      teacher: `plain networks -> Net`, the network of the teachers.
    """
    distillation = Distillation(
        tuple(float(share) for share in shares),
        tuple(points) if config.feature_weight else (),
        config.by,
        functools.partial(_lpips, config.lpips) if config.lpips and _perceptual(config) else None,
    )
    weights = {"l1": config.l1, "features": config.feature_weight, "perceptual": config.perceptual}
    params = load_perceptual(config.lpips).params if config.lpips and _perceptual(config) else None
    g = attach(distillation, nets["g"], teachers, params)
    rows: Rows = []
    state = context.train(
        {**nets, "g": g}, config.distil_kimg, name="distillation",
        trains={**dict.fromkeys(nets, no_leaf), "g": trains},
        wrap=lambda stage: stage.with_nets(g=with_teachers(stage.nets["g"], distillation, teacher(stage))),
        optim=distillation_optim(context.config.optim, config.distil_lr),
        extension=Extension(adversarial=False, regularisers=tuple(_term(name, weights[name]) for name in g[DISTANCES])),
        row=lambda images, metrics: rows.append({"images": images, **metrics}),
    )  # fmt: skip
    return {**state.nets, "g": plain(state.nets["g"])}, int(state.images), rows


def distil(
    context: PrepareContext,
    config: DistillationConfig,
    nets: StateNetworks,
    fused: Variables,
    points: Sequence[str],
    net: Callable[[Any], Net],
) -> tuple[StateNetworks, int, Rows]:
    """`distil_teachers` as the second stage of a fusion: the frozen fused G is distilled into a plain G.

    Args:
      context, config, points: as of `distil_teachers`.
      nets: variables of the student and of other networks; the student may share arrays with the fused G.
      fused: variables of the fused G, the teacher.
      net: `plain networks -> Net`, the network of the teacher.
    """
    later = context.replace(key=jax.random.fold_in(context.key, DISTIL_KEY))
    own = {**nets, "g": jax.tree_util.tree_map(jnp.array, nets["g"])}
    return distil_teachers(later, config, own, [fused], [1.0], points, net)


def distillation_optim(optim: OptimConfig, lr: float) -> OptimConfig:
    """The run's optimiser with Adam's usual betas and a step size that falls to 0, as suits distillation."""
    return dataclasses.replace(optim, lr=lr, b1=0.9, b2=0.999, schedule="linear")


def check_distillation(config: DistillationConfig, pair: Pair) -> None:
    """Checks that a distillation has teachers and a loss.

    Raises:
      ConfigError: there are no donors, G starts from no source, all weights are 0, or images are too small for LPIPS.
    """
    check_donors(config, pair)
    if config.l1 == 0 and config.feature_weight == 0 and not _perceptual(config):
        raise ConfigError(
            "transfer.l1 and transfer.feature_weight are 0 and there is no LPIPS, so that nothing is learned; use l1 1"
        )
    if _perceptual(config) and pair.config.resolution < (least := NETWORKS[config.lpips or ""].least):
        raise ConfigError(
            f"transfer.lpips {config.lpips} needs images of at least {least} px, not {pair.config.resolution}; "
            "use another network, or None"
        )


def _term(name: str, weight: float) -> Regulariser:
    def value(ctx: StepContext) -> tuple[jax.Array, dict[str, Any]]:
        assert ctx.g_collections is not None
        return weight * ctx.g_collections[DISTANCES][name], {}

    return Regulariser(name, "g", value)


def _perceptual(config: DistillationConfig) -> bool:
    return config.lpips is not None and config.perceptual > 0


def _lpips(network: str, params: Any, a: jax.Array, b: jax.Array) -> jax.Array:
    def rgb(images: jax.Array) -> jax.Array:
        """`[B, H, W, 3]` of grey, RGB or RGBA images."""
        return jnp.broadcast_to(images[..., :3], (*images.shape[:3], 3))

    return lpips(params, PERCEPTUAL[network], rgb(a), rgb(b))
