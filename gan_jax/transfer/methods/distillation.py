"""Distillation from several teachers: a baseline of fusion. The source's G learns to make what all sources make.

All sources teach, `source` among them unless its share is 0, in plain weights and on the latents of training. G begins as
the source's. D takes no part in the stage and is the source's when the run proper fine-tunes both on the target. Who
teaches an example is told by its latent, by default: teachers who answer one latent differently teach a blur between
them (`fusion.teachers`). Features are compared only if asked: those of networks that were trained apart have their
channels in orders of their own.
"""

from __future__ import annotations

from typing import Any

from gan_jax.config import ConfigError, DistillationConfig
from gan_jax.fusion.points import choose_points
from gan_jax.nets import Pair
from gan_jax.train.state import Networks
from gan_jax.transfer.donors import donors_as_they_are, fused_pair
from gan_jax.transfer.method import Method, networks_of
from gan_jax.transfer.preparation import PrepareContext, PreparedState
from gan_jax.transfer.teaching import check_lesson, teach


def make(config: DistillationConfig, pair: Pair) -> Method:
    """G is taught for `distil_kimg`, then everything is fine-tuned.

    Raises:
      ConfigError: as `check_lesson`; shares that are not one for each source, or of none; points that are not there.
    """
    check_lesson(config, pair)
    points, shares = tuple(choose_points(pair, config.points)), teachers_shares(config)
    if config.distil_kimg == 0:
        raise ConfigError("transfer.distil_kimg is 0, so that nothing is learned of the donors; use 0.5 or more")

    def prepare(context: PrepareContext, nets: Networks, constants: dict[str, Any]) -> PreparedState:
        g, d = nets["g"], nets["d"]
        donors = donors_as_they_are(context, config.donors)
        every = [(one, share) for one, share in zip([g, *donors.g], shares, strict=True) if share > 0]
        g, d, images, rows = teach(context, config, g, d, [one for one, _ in every], [s for _, s in every], points)
        words = "G was taught by " + ", ".join(
            f"{name} ({share:.3g} of the examples)"
            for name, share in zip([config.source, *config.donors], shares)
            if share > 0
        )
        told = {"g": {"all": list(shares[1:])}}
        return fused_pair(context, {"g": g, "d": d}, constants, donors, told, words, images=images, taught=rows)

    return Method(starts=tuple(networks_of(config.networks)), prepare=prepare, changes_source=True)


def teachers_shares(config: DistillationConfig) -> tuple[float, ...]:
    """The shares of all sources, the first's first; they sum to 1."""
    count = len(config.donors) + 1
    given = config.shares or (1.0,) * count
    if len(given) != count:
        raise ConfigError(
            f"transfer.shares are {len(given)}, but there are {count} teachers, transfer.source and {count - 1} donors; "
            "give one to each, 0 to one that is not to teach"
        )
    if min(given) < 0 or sum(given) <= 0:
        raise ConfigError(f"transfer.shares are {', '.join(f'{s:g}' for s in given)}; use 0 or more, and not 0 for all")
    return tuple(share / sum(given) for share in given)
