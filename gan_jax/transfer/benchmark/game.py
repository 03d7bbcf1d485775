"""What the members of a population share: one method on one pair, one game, and how a member's run begins."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.config import Config
from gan_jax.nets import Pair, build
from gan_jax.random_streams import RUN_KEY
from gan_jax.seeds import root_key
from gan_jax.train.feed import Feed
from gan_jax.train.optim import LR_SCALE
from gan_jax.train.state import GanState
from gan_jax.train.trainer import Trainer
from gan_jax.transfer.dataset import Dataset, counted, make_feed
from gan_jax.transfer.method import Method
from gan_jax.transfer.methods import make_method
from gan_jax.transfer.start import make_prepared, make_start
from gan_jax.transfer.trainers import make_trainer, step_flops
from gan_jax.trees import count, partition


@dataclasses.dataclass(frozen=True)
class Member:
    """One run of a population, ready to train.

    Attributes:
      config: of this run by itself.
      dataset: its images.
      feed: its batches.
      state: its start, preparation included.
      prepare_s: seconds that the start took, compilation included.
    """

    config: Config
    dataset: Dataset
    feed: Feed
    state: GanState
    prepare_s: float


@dataclasses.dataclass(frozen=True)
class Game:
    """What is compiled once for all members. `config` is any member's: seed and learning rate are not read from it."""

    config: Config
    bare: Pair
    method: Method
    scaled: bool  # whether members may have other learning rates, as factors in their states

    @property
    def pair(self) -> Pair:
        """The networks as they train."""
        return self.method.wrap(self.bare)

    def trainer(self, feed: Feed) -> Trainer:
        """What the members share, on one member's data."""
        return make_trainer(self.config, self.method, feed)

    def member(self, config: Config, dataset: Dataset) -> Member:
        """A run at its start: what `run` would make of this configuration.

        Raises:
          ConfigError, PlanError, NonFiniteError: the method refuses, or its preparation breaks.
        """
        began = time.monotonic()
        feed = make_feed(config, dataset)
        key = jax.random.fold_in(root_key(config.train.seed), RUN_KEY)
        start, trainer = make_start(config, self.bare, self.method), self.trainer(feed)
        prepared = make_prepared(make_trainer(config, self.method, feed), start, self.method, key)
        begin = lambda nets, constants, key: trainer.init(nets, key, constants)
        state = jax.jit(begin)(prepared.nets, prepared.constants, key)
        extras = dict(state.extras)
        if self.scaled:
            extras[LR_SCALE] = jnp.float32(config.optim.lr / self.config.optim.lr)
        state = state.replace(images=state.images + prepared.images, extras=extras)
        return Member(config, dataset, feed, jax.block_until_ready(state), time.monotonic() - began)

    def cost(self) -> dict[str, Any]:
        """Trained and all parameters by network, and floating-point operations of a step."""
        specs: dict[str, Any] = {name: net.specs()["params"] for name, net in self.pair.nets.items()}
        trained = {name: count(partition(tree, self.method.trains(name))[0]) for name, tree in specs.items()}
        return {
            "trained": trained,
            "parameters": {name: count(tree) for name, tree in specs.items()},
            "flops_per_step": step_flops(self.config, self.method),
        }


def make_game(config: Config, shots: int, scaled: bool = False) -> Game:
    """The game of a group.

    Args:
      config: of any member, paths filled in; its learning rate is compiled in.
      shots: training images of each member.
      scaled: whether other members have other ones.

    Raises:
      ConfigError: a configuration that cannot run, or a network that the method refuses.
    """
    bare = build(config.validate().net)
    return Game(config, bare, make_method(counted(config.transfer, shots), bare), scaled)
