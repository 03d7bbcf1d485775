"""Which transfer methods cannot run in a configuration, and what to change."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gan_jax.config.methods import FinetuneConfig

if TYPE_CHECKING:
    from gan_jax.config import Config


def method_problems(config: Config) -> Iterator[str]:
    """One line for everything that is wrong with `config.transfer` beside single numbers."""
    transfer: Any = config.transfer
    if not isinstance(transfer, FinetuneConfig):
        return
    if transfer.networks == "g" and transfer.d_warmup_kimg == 0 and transfer.adversarial:
        yield "transfer.networks g starts from a fresh D, which would destroy the pretrained G; set transfer.d_warmup_kimg"
    if 0 < config.train.kimg <= transfer.d_warmup_kimg:
        yield f"transfer.d_warmup_kimg {transfer.d_warmup_kimg:g} must be shorter than train.kimg {config.train.kimg:g}"
    yield from _stages(config)
    yield from transfer.problems(config)


def _stages(config: Config) -> Iterator[str]:
    """Whether the stages before the run proper leave it something to train; each is whole dispatches."""
    transfer: Any = config.transfer
    names = [name for name in STAGES if hasattr(transfer, name)]
    if getattr(transfer, "collapse", "distil") == "mean":
        names = [name for name in names if name != "distil_kimg"]
    stages = [getattr(transfer, name) for name in names]
    told = " and ".join(f"transfer.{name} {value:g}" for name, value in zip(names, stages, strict=True))
    if (root := getattr(transfer, "root_kimg", None)) is not None:
        stages = [root] * len(transfer.donors)
        told = f"transfer.root_kimg {root:g} for each of {len(transfer.donors)} donors"
    train = config.train
    span = train.batch * train.d_steps * train.steps_per_dispatch
    if train.kimg <= 0 or span <= 0 or not all(0 <= stage < math.inf for stage in (train.kimg, *stages)):
        return
    dispatches = lambda kimg: -(-int(round(kimg * 1000)) // span)
    if sum(stages) > 0 and sum(map(dispatches, stages)) >= dispatches(train.kimg):
        rounded = " (in whole dispatches)" if sum(stages) < train.kimg else ""
        yield f"{told} must be shorter than train.kimg {train.kimg:g}{rounded}: nothing would be left to fine-tune"


STAGES = ("mine_kimg", "probe_kimg", "warmup_kimg", "fuse_kimg", "distil_kimg")  # images shown before the run proper
