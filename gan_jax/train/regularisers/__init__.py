"""Regularisers, further loss terms of networks: a file for each kind, and a table of those that `LossConfig` turns on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import jax.numpy as jnp

from gan_jax.config import ConfigError, LossConfig
from gan_jax.train.regularisers.consistency import BCR, ZCR_D, ZCR_G
from gan_jax.train.regularisers.gradient_penalty import GRADIENT_PENALTY
from gan_jax.train.regularisers.lecam import LECAM
from gan_jax.train.regularisers.orthogonal import ORTHOGONAL_D, ORTHOGONAL_G
from gan_jax.train.regularisers.path_length import PATH_LENGTH
from gan_jax.train.regularisers.regulariser import Extras, Network, Regulariser

REGULARISERS = (GRADIENT_PENALTY, LECAM, BCR, ZCR_D, ORTHOGONAL_D, PATH_LENGTH, ZCR_G, ORTHOGONAL_G)


class Allows(Protocol):
    """The part of a task that lists the regularisers it can have."""

    @property
    def regularisers(self) -> tuple[str, ...] | None:
        """Names; None = all."""
        ...


def regularisers_of(
    loss: LossConfig, task: Allows, networks: Sequence[str], further: Sequence[Regulariser] = ()
) -> list[Regulariser]:
    """The regularisers of a phase that trains these networks: those of a configuration, then further ones."""
    able = [term for term in REGULARISERS if task.regularisers is None or term.name in task.regularisers]
    return [term for term in (*(t for t in able if t.is_on(loss)), *further) if term.network in networks]


def check_regularisers(loss: LossConfig, task: Allows) -> None:
    """Raises ConfigError where a configuration has a regulariser that a task cannot have."""
    if task.regularisers is None:
        return
    refused = [term.name for term in REGULARISERS if term.is_on(loss) and term.name not in task.regularisers]
    if refused:
        able = f"it can have {', '.join(task.regularisers)}" if task.regularisers else "it can have none of them"
        raise ConfigError(f"loss turns on {', '.join(refused)}, which this task cannot have ({able}); use 0")


def init_extras(loss: LossConfig, task: Allows) -> Extras:
    """The initial running values of a configuration's regularisers."""
    able = [term for term in REGULARISERS if task.regularisers is None or term.name in task.regularisers]
    return {name: jnp.zeros((), jnp.float32) for term in able if term.is_on(loss) for name in term.extras}


__all__ = [
    "REGULARISERS",
    "Extras",
    "Network",
    "Regulariser",
    "check_regularisers",
    "init_extras",
    "regularisers_of",
]
