"""The type of a regulariser, one further loss term of a network."""

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
    """One loss term of one network.

    Attributes:
      name: of its metric.
      network: of the loss; the term belongs to the phase that trains this network.
      value: `ctx -> (penalty [], changed extras)`; the penalty is over this device's examples.
      is_on: whether a configuration turns it on.
      interval: updates of the network between two penalties. Above 1, the penalty has updates of its own and is multiplied
        by the interval (lazy regularisation, Karras et al., 2020).
      extras: names of its running values in the state, float32 scalars that start at 0.
      projected: whether its gradient is projected where it conflicts with that of all else (`train.conflict`); not if lazy.
    """

    name: str
    network: Network
    value: Callable[[StepContext], tuple[jax.Array, Extras]]
    is_on: Callable[[LossConfig], bool] = _everywhere
    interval: Callable[[LossConfig], int] = _always
    extras: tuple[str, ...] = ()
    projected: bool = False
