"""The stage in which a plain G learns to make what its teachers make, without data and without D."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.config import ConfigError, DistillationConfig, OptimConfig
from gan_jax.fusion.teachers import Lesson, attach, plain, taught, trains
from gan_jax.metrics.networks import NETWORKS, PERCEPTUAL
from gan_jax.metrics.perceptual import load_perceptual
from gan_jax.nets import Pair
from gan_jax.nets.build import Net, Variables
from gan_jax.nets.features.perceptual import lpips
from gan_jax.random_streams import DISTIL_KEY
from gan_jax.reserved import DISTANCES
from gan_jax.train.context import StepContext
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Regulariser
from gan_jax.transfer.donors import check_donors
from gan_jax.transfer.preparation import PrepareContext, no_leaf

Rows = list[dict[str, Any]]


def teach(
    context: PrepareContext,
    config: DistillationConfig,
    g: Variables,
    d: Variables,
    teachers: Sequence[Variables],
    shares: Sequence[float],
    points: Sequence[str],
    teacher: Callable[[Pair], Net] = lambda pair: pair.g,
) -> tuple[Variables, Variables, int, Rows]:
    """`(g, d, images, rows)`: a G that makes what its teachers make, and D as it was.

    Args:
      context: of the preparation.
      config: how long, by whom an example is taught, and what counts how much.
      g: variables of the pupil.
      d: variables of D, which does not play.
      teachers: their variables.
      shares: of the examples that each has.
      points: modules whose features are compared, where they count.
      teacher: the plain pair of the stage -> the network of the teachers.
    """
    lesson = Lesson(
        tuple(float(share) for share in shares),
        tuple(points) if config.feature_weight else (),
        config.by,
        functools.partial(_lpips, config.lpips) if config.lpips and _perceptual(config) else None,
    )
    weights = {"l1": config.l1, "features": config.feature_weight, "perceptual": config.perceptual}
    params = load_perceptual(config.lpips).params if config.lpips and _perceptual(config) else None
    carried = attach(lesson, g, teachers, params)
    rows: Rows = []
    state = context.train(
        {"g": carried, "d": d}, config.distil_kimg, name="lesson",
        trains={"g": trains, "d": no_leaf},
        wrap=lambda pair: dataclasses.replace(pair, g=taught(pair.g, lesson, teacher(pair))),
        optim=lesson_optim(context.config.optim, config.distil_lr),
        extension=Extension(adversarial=False, regularisers=tuple(_term(name, weights[name]) for name in carried[DISTANCES])),
        row=lambda images, metrics: rows.append({"images": images, **metrics}),
    )  # fmt: skip
    return plain(state.nets["g"]), state.nets["d"], int(state.images), rows


def distil(
    context: PrepareContext,
    config: DistillationConfig,
    g: Variables,
    d: Variables,
    fused: Variables,
    points: Sequence[str],
    net: Callable[[Pair], Net],
) -> tuple[Variables, Variables, int, Rows]:
    """`teach` as the second stage of a fusion: G learns what the frozen fused one makes, `(g, d, images, rows)`.

    Args:
      context, config, d, points: as `teach` has them.
      g: of the pupil; it may share arrays with the fused one.
      fused: variables of the fused one.
      net: plain pair -> its network.
    """
    later = context.replace(key=jax.random.fold_in(context.key, DISTIL_KEY))
    return teach(later, config, jax.tree_util.tree_map(jnp.array, g), d, [fused], [1.0], points, net)


def lesson_optim(optim: OptimConfig, lr: float) -> OptimConfig:
    """As the run's, with the usual moments and a rate that falls to 0: a lesson is no game, and is over when it is over."""
    return dataclasses.replace(optim, lr=lr, b1=0.9, b2=0.999, schedule="linear")


def check_lesson(config: DistillationConfig, pair: Pair) -> None:
    """Whether there is something to learn and somebody to learn it from.

    Raises:
      ConfigError: no donors, a G that starts from no source, nothing that counts, or images too small for LPIPS.
    """
    check_donors(config)
    if config.l1 == 0 and config.feature_weight == 0 and not _perceptual(config):
        raise ConfigError(
            "transfer.l1 and transfer.feature_weight are 0 and there is no LPIPS, so that nothing is learned; use l1 1"
        )
    if _perceptual(config) and pair.config.resolution < (least := NETWORKS[config.lpips or ""].least):
        raise ConfigError(
            f"transfer.lpips {config.lpips} wants images of at least {least} px, not {pair.config.resolution}; "
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
    rgb = lambda images: jnp.broadcast_to(images[..., :3], (*images.shape[:3], 3))
    return lpips(params, PERCEPTUAL[network], rgb(a), rgb(b))
