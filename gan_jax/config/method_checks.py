"""Which transfer methods cannot run in a configuration, and what to change."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from gan_jax.config import (
    AdaFMConfig,
    BSAConfig,
    Config,
    FinetuneConfig,
    FreezeDConfig,
    FreezeGConfig,
    FSGANConfig,
    KMLConfig,
    LoRAConfig,
    NADAConfig,
    ScaleShiftConfig,
)


def method_problems(config: Config) -> Iterator[str]:
    """One line for everything that is wrong with `config.transfer` beside single numbers."""
    transfer: Any = config.transfer
    if not isinstance(transfer, FinetuneConfig):
        return
    for network, other in (("d", "g"), ("g", "d")):
        if network in _frozen_networks(transfer) and transfer.networks == other:
            yield (
                f"transfer.networks {other} leaves a fresh {network.upper()}, whose blocks must not be frozen; "
                f"use both or {network}"
            )
    if transfer.networks == "g" and transfer.d_warmup_kimg == 0 and not isinstance(transfer, (BSAConfig, NADAConfig)):
        yield "transfer.networks g starts from a fresh D, which would destroy the pretrained G; set transfer.d_warmup_kimg"
    if 0 < config.train.kimg <= transfer.d_warmup_kimg:
        yield f"transfer.d_warmup_kimg {transfer.d_warmup_kimg:g} must be shorter than train.kimg {config.train.kimg:g}"
    yield from stage_problems(config)
    if isinstance(transfer, BSAConfig):
        yield from _bsa(config)


def stage_counts(transfer: Any) -> dict[str, int]:
    """How often each stage of a method is gone through before the run proper, by the name of its length."""
    if hasattr(transfer, "root_kimg"):
        return {"root_kimg": len(transfer.donors)}
    names = [name for name in STAGES if hasattr(transfer, name)]
    if getattr(transfer, "collapse", "distil") == "mean":
        names = [name for name in names if name != "distil_kimg"]
    return dict.fromkeys(names, 1)


def stage_problems(config: Config) -> Iterator[str]:
    """Whether the stages before the run proper leave it something to train; each is whole dispatches."""
    transfer: Any = config.transfer
    counts = stage_counts(transfer)
    stages = [getattr(transfer, name) for name, count in counts.items() for _ in range(count)]
    told = " and ".join(f"transfer.{name} {getattr(transfer, name):g}" for name in counts)
    if "root_kimg" in counts:
        told += f" for each of {len(transfer.donors)} donors"
    train = config.train
    span = train.batch * train.d_steps * train.steps_per_dispatch
    if train.kimg <= 0 or span <= 0 or not all(0 <= stage < math.inf for stage in (train.kimg, *stages)):
        return
    dispatches = lambda kimg: -(-int(round(kimg * 1000)) // span)
    if sum(stages) > 0 and sum(map(dispatches, stages)) >= dispatches(train.kimg):
        rounded = " (in whole dispatches)" if sum(stages) < train.kimg else ""
        yield f"{told} must be shorter than train.kimg {train.kimg:g}{rounded}: nothing would be left to fine-tune"


def _frozen_networks(transfer: FinetuneConfig) -> str:
    more = getattr(transfer, "d_frozen", False) or getattr(transfer, "d_adapted", False)
    return FROZEN.get(type(transfer), "") + ("d" if more else "")


def _bsa(config: Config) -> Iterator[str]:
    transfer: Any = config.transfer
    if transfer.d_warmup_kimg > 0:
        yield "transfer.d_warmup_kimg warms a D up, but bsa plays without one; use 0"
    if config.data.mirror:
        yield "data.mirror shows an image in two ways, but bsa has one latent for it; use False"
    if config.train.d_steps > 1:
        yield f"train.d_steps is {config.train.d_steps}, but bsa plays without a D; use 1"


STAGES = ("mine_kimg", "probe_kimg", "warmup_kimg", "fuse_kimg", "distil_kimg")  # images shown before the run proper
FROZEN: dict[type, str] = {  # methods that keep leaves of the source as they are -> the networks that these are in
    FreezeDConfig: "d",
    FreezeGConfig: "g",
    ScaleShiftConfig: "g",
    BSAConfig: "g",
    AdaFMConfig: "gd",
    FSGANConfig: "gd",
    LoRAConfig: "g",
    KMLConfig: "g",
}
