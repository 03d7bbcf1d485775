"""Checks of a configuration's transfer method: which methods cannot run in it, and what to change."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gan_jax.config.methods import ChainConfig, FinetuneConfig, ScratchConfig
from gan_jax.config.serial import kind_of
from gan_jax.config.stages import dispatches, leaves_nothing, stages_of

if TYPE_CHECKING:
    from gan_jax.config import Config


def method_problems(config: Config) -> Iterator[str]:
    """Yields a line for every problem of `config.transfer`, apart from limits of single numbers."""
    transfer: Any = config.transfer
    if not isinstance(transfer, FinetuneConfig):
        return
    if transfer.networks == "g" and transfer.d_warmup_kimg == 0 and transfer.adversarial:
        yield "transfer.networks g starts from a fresh D, which would destroy the pretrained G; set transfer.d_warmup_kimg"
    if 0 < config.train.kimg <= transfer.d_warmup_kimg:
        yield f"transfer.d_warmup_kimg {transfer.d_warmup_kimg:g} must be shorter than train.kimg {config.train.kimg:g}"
    yield from _stages(config)
    yield from transfer.problems(config)
    if isinstance(transfer, ChainConfig):
        yield from _of_chain(config, transfer)


def _of_chain(config: Config, chain: ChainConfig) -> Iterator[str]:
    """What is wrong with a chain, and with each of its methods by itself."""
    if not chain.methods:
        yield "transfer.methods is empty: name at least one method, --method lora ewc"
    for method in chain.methods:
        if isinstance(method, (ScratchConfig, ChainConfig)) or not isinstance(method, FinetuneConfig):
            yield f"transfer.methods holds {kind_of(method)}, which cannot be one of several methods; leave it out"
            return
    for part in chain.parts:
        own = dataclasses.replace(config, transfer=part)
        yield from (f"{text} (of {kind_of(part)})" for text in method_problems(own))


def _stages(config: Config) -> Iterator[str]:
    """Checks that the stages before the main training leave it some images; each stage is in whole dispatches."""
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
