"""The shape of a regulariser: one further term of a network's loss."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from gan_jax.config import LossConfig
from gan_jax.train.context import StepContext

Extras = dict[str, Any]
Network = str  # the name of a network: "g" and "d" of the usual pair


def _always(loss: LossConfig) -> int:
    return 1


def _everywhere(loss: LossConfig) -> bool:
    return True


@dataclasses.dataclass(frozen=True)
class Regulariser:
    """One term of one network's loss.

    Attributes:
      name: of its metric.
      network: whose loss; the term is part of the phase that trains this network.
      value: `ctx -> (penalty [], the extras that it changes)`; the penalty is of this device's examples.
      is_on: whether a configuration has it.
      interval: updates of the network from one penalty to the next. Where it is more than 1 the penalty has updates
        of its own and is scaled up by as much (lazy regularisation, Karras et al., 2020).
      extras: running values that it keeps in the state, float32 scalars that begin at 0.
      yields: whether its gradient gives way to that of all else where they conflict (`train.conflict`); not of lazy ones.
    """

    name: str
    network: Network
    value: Callable[[StepContext], tuple[jax.Array, Extras]]
    is_on: Callable[[LossConfig], bool] = _everywhere
    interval: Callable[[LossConfig], int] = _always
    extras: tuple[str, ...] = ()
    yields: bool = False
