"""Which transfer methods cannot run in a configuration, and what to change."""

from __future__ import annotations

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
from gan_jax.config.stages import dispatches, leaves_nothing, stages_of


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
    yield from _stages(config)
    if isinstance(transfer, BSAConfig):
        yield from _bsa(config)


def _stages(config: Config) -> Iterator[str]:
    """Whether the stages before the run proper leave it something to train; each is whole dispatches."""
    if not leaves_nothing(config):
        return
    train, stages = config.train, stages_of(config.transfer)
    words = " and ".join(
        f"transfer.{s.name} {s.kimg:g}{f' for each of {s.times} donors' if s.name == 'root_kimg' else ''}"
        for s in stages
    )
    rounded = " (in whole dispatches)" if sum(s.kimg * s.times for s in stages) < train.kimg else ""
    remedy = ""
    if train.steps_per_dispatch > 1 and dispatches(config, train.kimg) <= sum(s.times for s in stages if s.kimg):
        remedy = (
            f"; a dispatch is train.steps_per_dispatch {train.steps_per_dispatch} batches of {train.batch}: use fewer"
        )
    yield f"{words} must be shorter than train.kimg {train.kimg:g}{rounded}: nothing would be left to fine-tune{remedy}"


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
