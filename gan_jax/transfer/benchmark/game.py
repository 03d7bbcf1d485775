"""The setup of a population: one method on one pair for all replicas, and the start of each replica."""

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
class Replica:
    """One run of a population, ready to train.

    Attributes:
      config: of this run by itself.
      dataset: its images.
      feed: its batches.
      state: its start, after the method's preparation.
      prepare_s: seconds that the start took, compilation included.
    """

    config: Config
    dataset: Dataset
    feed: Feed
    state: GanState
    prepare_s: float


@dataclasses.dataclass(frozen=True)
class Setup:
    """What all replicas of a population share, and is compiled once.

    Attributes:
      config: of any replica; its seed is not read, its learning rate is compiled in.
      plain_pair: the networks without what the method adds.
      method: of all replicas.
      scaled: whether replicas may have other learning rates, as factors in their states.
    """

    config: Config
    plain_pair: Pair
    method: Method
    scaled: bool

    @property
    def pair(self) -> Pair:
        """The networks as they train."""
        return self.method.wrap(self.plain_pair)

    def trainer(self, feed: Feed) -> Trainer:
        """The trainer of a replica, on its data."""
        return make_trainer(self.config, self.method, feed)

    def replica(self, config: Config, dataset: Dataset) -> Replica:
        """A replica at its start, equal to the start of `run` with this configuration.

        Raises:
          ConfigError, PlanError, NonFiniteError: the method refuses, or its preparation breaks.
        """
        began = time.monotonic()
        feed = make_feed(config, dataset)
        key = jax.random.fold_in(root_key(config.train.seed), RUN_KEY)
        start, trainer = make_start(config, self.plain_pair, self.method), self.trainer(feed)
        prepared = make_prepared(make_trainer(config, self.method, feed), start, self.method, key)
        begin = lambda nets, constants, key: trainer.init(nets, key, constants)
        state = jax.jit(begin)(prepared.nets, prepared.constants, key)
        extras = dict(state.extras)
        if self.scaled:
            extras[LR_SCALE] = jnp.float32(config.optim.lr / self.config.optim.lr)
        state = state.replace(images=state.images + prepared.images, extras=extras)
        return Replica(config, dataset, feed, jax.block_until_ready(state), time.monotonic() - began)

    def cost(self) -> dict[str, Any]:
        """The numbers of trained and of all parameters by network, and the floating-point operations of a step."""
        specs: dict[str, Any] = {name: net.specs()["params"] for name, net in self.pair.nets.items()}
        trained = {name: count(partition(tree, self.method.trains(name))[0]) for name, tree in specs.items()}
        return {
            "trained": trained,
            "parameters": {name: count(tree) for name, tree in specs.items()},
            "flops_per_step": step_flops(self.config, self.method),
        }


def make_setup(config: Config, shots: int, scaled: bool = False) -> Setup:
    """Makes the setup of a population.

    Args:
      config: of any replica, with expanded paths; its learning rate is compiled in.
      shots: training images of each replica.
      scaled: whether other replicas have other learning rates.

    Raises:
      ConfigError: a configuration that cannot run, or a network that the method refuses.
    """
    plain_pair = build(config.validate().net)
    return Setup(config, plain_pair, make_method(counted(config.transfer, shots), plain_pair), scaled)
