"""Lengths of the stages that a method trains before the main training; all are part of `train.kimg`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from gan_jax.config import Config


class Stage(NamedTuple):
    """A stage of a method.

    Attributes:
      name: field of `config.transfer` with its length.
      kimg: length, thousand images.
      times: how often it is trained.
    """

    name: str
    kimg: float
    times: int = 1


def stages_of(transfer: Any) -> tuple[Stage, ...]:
    """The stages of a method's configuration, in their order."""
    return tuple(Stage(name, getattr(transfer, name), times) for name, times in transfer.stages.items())


def dispatches(config: Config, kimg: float) -> int:
    """The number of dispatches of a length, rounded up."""
    train = config.train
    return -(-int(round(kimg * 1000)) // (train.batch * train.d_steps * train.steps_per_dispatch))


def leaves_nothing(config: Config) -> bool:
    """Whether the stages take all of `train.kimg`; False where a length is not valid."""
    train, stages = config.train, stages_of(config.transfer)
    lengths = (train.kimg, *(stage.kimg for stage in stages))
    if train.kimg <= 0 or train.batch * train.d_steps * train.steps_per_dispatch <= 0:
        return False
    if not all(0 <= kimg < math.inf for kimg in lengths):
        return False
    needed = sum(dispatches(config, stage.kimg) * stage.times for stage in stages)
    return needed > 0 and needed >= dispatches(config, train.kimg)


def shorten_stages(config: Config, options: Collection[str]) -> tuple[Config, tuple[str, ...]]:
    """Shortens stages with default lengths to half of `train.kimg` where they would take all of it.

    Args:
      config: of the run.
      options: dotted names of the user's options, such as `transfer.fuse_kimg`; these stay.

    Returns:
      The configuration, and a log message where a stage was shortened. Where no length fits, nothing changes.
    """
    if not leaves_nothing(config):
        return config, ()
    transfer: Any = config.transfer
    default = {field.name: field.default for field in dataclasses.fields(transfer)}
    stages = [stage for stage in stages_of(transfer) if stage.kimg > 0 and stage.times]
    free = [s for s in stages if f"transfer.{s.name}" not in options and s.kimg == default[s.name]]
    fixed = sum(dispatches(config, s.kimg) * s.times for s in stages if s not in free)
    total, least = dispatches(config, config.train.kimg), sum(s.times for s in free)
    if not free or fixed + least >= total:
        return config, ()
    budget = (total - fixed) // 2  # dispatches for the free stages
    length = sum(s.kimg * s.times for s in free)
    span = config.train.batch * config.train.d_steps * config.train.steps_per_dispatch
    lengths = {s.name: max(1, int(budget * s.kimg / length)) * span / 1000 for s in free}
    changed = dataclasses.replace(config, transfer=dataclasses.replace(transfer, **lengths))
    if leaves_nothing(changed):  # one dispatch each takes more than half
        changed = dataclasses.replace(
            config, transfer=dataclasses.replace(transfer, **dict.fromkeys(lengths, span / 1000))
        )
    now = {s.name: s for s in stages_of(changed.transfer)}
    words = " and ".join(
        f"transfer.{s.name} {now[s.name].kimg:g} in place of {s.kimg:g}{f' for each of {s.times} donors' if s.times > 1 else ''}"
        for s in free
    )
    rest = (total - sum(dispatches(changed, s.kimg) * s.times for s in now.values())) * span
    return changed, (
        f"stage: {words}, since train.kimg is {config.train.kimg:g}; {rest:,} images are left to fine-tune",
    )
