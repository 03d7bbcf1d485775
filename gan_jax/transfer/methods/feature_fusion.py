"""Attention-based fusion in feature space (AF-F): a G that attends to features of frozen donors, then is distilled.

In the first stage (`fuse_kimg`) the source's G attends to donors at `points`, by default one in each block. Its
attention, its own leaves (with `finetune`) and D are trained by the adversarial loss on the target. Attention and AFF are
defined in `fusion.features`. As in Knowledge Flow (Liu et al., ICLR 2019) G has a loss term
`wean x -log(weight of its own features)`, a mean over positions and points. The term's weight grows from 0 after the
part `wean_from` of the stage: G uses the donors first, and then learns to do without them.

In the second stage (`distil_kimg`) a plain G, the student, begins with the fused G's own leaves and is distilled from the
fused G. Donors that count less than `drop` at every point are pruned first; where none is left the plain G is taken as it
is. Main training fine-tunes a plain pair.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.config import ConfigError, FeatureFusionConfig
from gan_jax.fusion.features import (
    PROBES,
    Fusion,
    attach,
    choose_points,
    fused,
    measure_attention,
    plain,
    trains,
    without,
)
from gan_jax.nets import Pair
from gan_jax.reserved import FUSION, LAYERS, SELF_ATTENTION, SHARES
from gan_jax.train.context import StepContext
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Extras, Regulariser
from gan_jax.train.state import GanState, Networks
from gan_jax.transfer.distilling import Rows, check_distillation, distil
from gan_jax.transfer.donors import fused_pair, unaligned_donors
from gan_jax.transfer.method import Method
from gan_jax.transfer.preparation import PrepareContext, PreparedState, every_leaf
from gan_jax.transfer.probes import draw_probes


def make(config: FeatureFusionConfig, pair: Pair) -> Method:
    """G attends to donors for `fuse_kimg`, is distilled for `distil_kimg`, then everything is fine-tuned.

    Raises:
      ConfigError: as `check_distillation`; AFF of several donors, a D that is not the source's, points that are not there.
    """
    _check(config, pair)
    shapes = choose_points(pair, config.points)
    fusion = Fusion({path: shape[-1] for path, shape in shapes.items()}, config.way, config.attention_width)
    wrap = lambda pair: dataclasses.replace(pair, g=fused(pair.g, fusion))

    def prepare(context: PrepareContext, nets: Networks, constants: dict[str, Any]) -> PreparedState:
        g, d = nets["g"], nets["d"]
        donors, rows = unaligned_donors(context, config.donors), []
        state = context.train(
            {"g": attach(fusion, g, donors.nets["g"], context.key), "d": d},
            config.fuse_kimg,
            name="attending to donors",
            trains={"g": trains(config.finetune), "d": every_leaf},
            wrap=wrap,
            extension=attention_extension(config),
            row=lambda images, metrics: rows.append({"images": images, **metrics}),
        )
        x, labels = draw_probes(context, pair, "g", jax.random.key(0), PROBES)
        attention = measure_attention(pair, fusion, state.nets["g"], x, labels)
        counts = [max(row[i] for row in attention["counts"].values()) for i in range(len(config.donors))]
        dropped = [i for i, most in enumerate(counts) if most < config.drop]
        nets, images, distil_rows = _distilled(context, config, fusion, state, dropped)
        words = "G took from donors, on average over points " + ", ".join(
            f"{sum(row[i] for row in attention['counts'].values()) / len(shapes):.3f} of {name}"
            for i, name in enumerate(config.donors)
        )
        shares = {"g": {point: row[1:] for point, row in attention["shares"].items()}}
        stats = {name: value for name, value in attention.items() if name != "shares"}
        return fused_pair(
            context,
            nets,
            constants,
            donors,
            shares,
            words,
            images=int(state.images) + images,
            learned=rows,
            dropped=[config.donors[i] for i in dropped],
            taught=distil_rows,
            **stats,
        )

    return Method(starts=("g", "d"), prepare=prepare, changes_source=True)


def attention_extension(config: FeatureFusionConfig) -> Extension:
    """The extension of the first stage: the loss term for the use of donors, and mixing weights and gates as metrics."""
    begin, end = config.wean_from * config.fuse_kimg * 1000, config.fuse_kimg * 1000

    def wean(ctx: StepContext) -> tuple[jax.Array, Extras]:
        assert ctx.g_collections is not None
        part = jnp.clip((jnp.asarray(ctx.images, jnp.float32) - begin) / (end - begin), 0, 1)
        return config.wean * part * jnp.stack(list(ctx.g_collections[SELF_ATTENTION].values())).mean(), {}

    def metrics(state: GanState) -> dict[str, jax.Array]:
        shares, ways = state.nets["g"][SHARES], state.nets["g"]["params"][FUSION][LAYERS]
        mean = jnp.stack(list(shares.values())).mean(0)
        each = {f"share{i}/{name}": share[i] for name, share in shares.items() for i in range(1, len(share))}
        gates = {f"gate/{name}": way["gate"] for name, way in ways.items()}
        return {f"share{i}": mean[i] for i in range(1, len(mean))} | each | gates

    return Extension(regularisers=(Regulariser("wean", "g", wean),) if config.wean else (), metrics=metrics)


def _distilled(
    context: PrepareContext, config: FeatureFusionConfig, fusion: Fusion, state: GanState, dropped: list[int]
) -> tuple[Networks, int, Rows]:
    """`(networks, images, metrics rows)` of the plain pair after the second stage."""
    nets = {**state.nets, "g": plain(state.nets["g"])}
    if config.distil_kimg == 0 or len(dropped) == len(config.donors):
        return nets, 0, []
    teacher = without(state.nets["g"], dropped) if dropped else state.nets["g"]
    net = lambda pair: fused(pair.g, fusion)
    return distil(context, config, nets, teacher, tuple(fusion.points), net)


def _check(config: FeatureFusionConfig, pair: Pair) -> None:
    check_distillation(config, pair)
    if config.networks != "both":
        raise ConfigError(
            f"transfer.networks is {config.networks}, but attention is trained against a D that knows images: the "
            "source's; use both"
        )
    if config.way == "aff" and len(config.donors) > 1:
        raise ConfigError(f"transfer.way aff fuses G with one donor, but there are {len(config.donors)}; use attention")
    if config.fuse_kimg <= 0:
        raise ConfigError(f"transfer.fuse_kimg is {config.fuse_kimg:g}, so that nothing is fused; use 0.5 or more")
    if not 0 <= config.wean_from < 1:
        raise ConfigError(f"transfer.wean_from is {config.wean_from:g}; use a part of the stage in [0, 1)")
    if config.shares or config.by != "latent":
        raise ConfigError(
            "transfer.shares and transfer.by divide examples between teachers, but feature_fusion has one teacher"
        )
