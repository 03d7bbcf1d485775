"""The shape of a regulariser: what a network pays beside the game."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax

from gan_jax.config import LossConfig
from gan_jax.train.turn import Turn

Extras = dict[str, Any]
Network = Literal["g", "d"]


def _always(loss: LossConfig) -> int:
    return 1


def _everywhere(loss: LossConfig) -> bool:
    return True


@dataclasses.dataclass(frozen=True)
class Regulariser:
    """One term of one network's loss.

    Attributes:
      name: of its metric.
      network: who pays.
      value: `turn -> (penalty [], the extras that it changes)`; the penalty is of this device's examples.
      wanted: whether a configuration has it.
      interval: updates of the network from one penalty to the next. Where it is more than 1 the penalty has updates
        of its own and is scaled up by as much (lazy regularisation, Karras et al., 2020).
      extras: running values that it keeps in the state, float32 scalars that begin at 0.
      yields: whether its gradient gives way to that of all else where they conflict (`train.conflict`); not of lazy ones.
    """

    name: str
    network: Network
    value: Callable[[Turn], tuple[jax.Array, Extras]]
    wanted: Callable[[LossConfig], bool] = _everywhere
    interval: Callable[[LossConfig], int] = _always
    extras: tuple[str, ...] = ()
    yields: bool = False
