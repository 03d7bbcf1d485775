"""Distillation from several teachers, a baseline of fusion: the source's G learns to make what all sources make.

Every source is a teacher, also `source` unless its share is 0, with plain weights and on the latents of training. The
student begins as the source's G. D takes no part in the stage; main training fine-tunes both on the target, D from the
source's. By default an example's teacher is chosen by its latent: of teachers with different images of one latent a
student learns a blur between them (`fusion.teachers`). Translators have no latents; for several teachers they need `by`
chance. Features are compared on request only: networks that were trained apart have their channels in different orders.
"""

from __future__ import annotations

from typing import Any

from gan_jax.config import ConfigError, DistillationConfig
from gan_jax.fusion.features import choose_points
from gan_jax.nets import Pair
from gan_jax.train.state import Networks
from gan_jax.transfer.distilling import check_distillation, distil_teachers
from gan_jax.transfer.donors import fused_pair, unaligned_donors
from gan_jax.transfer.method import Method, networks_of
from gan_jax.transfer.preparation import PrepareContext, PreparedState


def make(config: DistillationConfig, pair: Pair) -> Method:
    """G is distilled for `distil_kimg`, then everything is fine-tuned.

    Raises:
      ConfigError: as `check_distillation`; shares that are not one for each source, or of none; points that are not there.
    """
    check_distillation(config, pair)
    points, shares = tuple(choose_points(pair, config.points)), teacher_shares(config)
    if pair.config.translates and config.by == "latent" and sum(share > 0 for share in shares) > 1:
        raise ConfigError(
            "transfer.by latent gives each teacher a part of the latents, and translators have none; use transfer.by chance, "
            "by which G learns the mean of what its teachers make of an image"
        )
    if config.distil_kimg == 0:
        raise ConfigError("transfer.distil_kimg is 0, so that nothing is learned from the donors; use 0.5 or more")

    def prepare(context: PrepareContext, nets: Networks, constants: dict[str, Any]) -> PreparedState:
        donors = unaligned_donors(context, config.donors)
        teachers = [(g, share) for g, share in zip([nets["g"], *donors.nets["g"]], shares, strict=True) if share > 0]
        nets, images, rows = distil_teachers(
            context, config, nets, [t for t, _ in teachers], [s for _, s in teachers], points
        )
        words = "G was distilled from " + ", ".join(
            f"{name} ({share:.3g} of the examples)"
            for name, share in zip([config.source, *config.donors], shares)
            if share > 0
        )
        of_donors = {"g": {"all": list(shares[1:])}}
        return fused_pair(context, nets, constants, donors, of_donors, words, images=images, taught=rows)

    return Method(starts=tuple(networks_of(config.networks)), prepare=prepare, changes_source=True)


def teacher_shares(config: DistillationConfig) -> tuple[float, ...]:
    """The teachers' shares of the examples, `source` first, then the donors; they sum to 1.

    Raises:
      ConfigError: shares that are not one for each source, negative, or 0 for all.
    """
    count = len(config.donors) + 1
    shares = config.shares or (1.0,) * count
    if len(shares) != count:
        raise ConfigError(
            f"transfer.shares are {len(shares)}, but there are {count} teachers, transfer.source and {count - 1} donors; "
            "give one for each, 0 for a source that is no teacher"
        )
    if min(shares) < 0 or sum(shares) <= 0:
        raise ConfigError(
            f"transfer.shares are {', '.join(f'{s:g}' for s in shares)}; use 0 or more, and not 0 for all"
        )
    return tuple(share / sum(shares) for share in shares)
