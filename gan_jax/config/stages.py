"""Lengths of the stages that a method trains before the run proper; all are part of `train.kimg`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection
from typing import Any, NamedTuple

from gan_jax.config import Config

STAGES = ("mine_kimg", "probe_kimg", "warmup_kimg", "fuse_kimg", "distil_kimg", "root_kimg")  # real images, thousands


class Stage(NamedTuple):
    """A stage of a method.

    Attributes:
      name: the field of `config.transfer`.
      kimg: its length, thousand images.
      times: how often it is trained.
    """

    name: str
    kimg: float
    times: int = 1


def stages_of(transfer: Any) -> tuple[Stage, ...]:
    """The stages of a method's configuration that will be trained, in their order."""
    names = [name for name in STAGES if hasattr(transfer, name)]
    if getattr(transfer, "collapse", "distil") == "mean":
        names = [name for name in names if name != "distil_kimg"]
    times = {"root_kimg": len(getattr(transfer, "donors", ()))}  # a copy of the root for each donor
    return tuple(Stage(name, getattr(transfer, name), times.get(name, 1)) for name in names)


def dispatches(config: Config, kimg: float) -> int:
    """How many dispatches a length takes; the last of them is a whole one."""
    train = config.train
    return -(-int(round(kimg * 1000)) // (train.batch * train.d_steps * train.steps_per_dispatch))


def leaves_nothing(config: Config) -> bool:
    """Whether the stages before the run proper take all of `train.kimg`; False where a length is no length."""
    train, stages = config.train, stages_of(config.transfer)
    lengths = (train.kimg, *(stage.kimg for stage in stages))
    if train.kimg <= 0 or train.batch * train.d_steps * train.steps_per_dispatch <= 0:
        return False
    if not all(0 <= kimg < math.inf for kimg in lengths):
        return False
    needed = sum(dispatches(config, stage.kimg) * stage.times for stage in stages)
    return needed > 0 and needed >= dispatches(config, train.kimg)


def shorten_stages(config: Config, given: Collection[str]) -> tuple[Config, tuple[str, ...]]:
    """Shortens stages of default length to half of a `train.kimg` that they would use up.

    Args:
      config: of the run.
      given: dotted names of the options that the user gave, such as `transfer.fuse_kimg`; these stay.

    Returns:
      The configuration, and a sentence where something was shortened. Where no length would do, as it was.
    """
    if not leaves_nothing(config):
        return config, ()
    transfer: Any = config.transfer
    default = {field.name: field.default for field in dataclasses.fields(transfer)}
    stages = [stage for stage in stages_of(transfer) if stage.kimg > 0 and stage.times]
    free = [s for s in stages if f"transfer.{s.name}" not in given and s.kimg == default[s.name]]
    kept = sum(dispatches(config, s.kimg) * s.times for s in stages if s not in free)
    total, least = dispatches(config, config.train.kimg), sum(s.times for s in free)
    if not free or kept + least >= total:
        return config, ()
    left = (total - kept) // 2  # of dispatches, for the free stages
    wanted = sum(s.kimg * s.times for s in free)
    span = config.train.batch * config.train.d_steps * config.train.steps_per_dispatch
    lengths = {s.name: max(1, int(left * s.kimg / wanted)) * span / 1000 for s in free}
    changed = dataclasses.replace(config, transfer=dataclasses.replace(transfer, **lengths))
    if leaves_nothing(changed):  # one dispatch each is more than half
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
