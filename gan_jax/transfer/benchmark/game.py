"""What the members of a population share: one method on one pair, one game, and how a member's run begins."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.config import Config
from gan_jax.nets import Pair, build
from gan_jax.seeds import root_key
from gan_jax.tasks import Task
from gan_jax.tasks.image import image_task
from gan_jax.train.cost import step_flops
from gan_jax.train.feed import Feed
from gan_jax.train.optim import LR_SCALE
from gan_jax.train.state import GanState
from gan_jax.train.steps import init_state
from gan_jax.train.update import Chosen
from gan_jax.transfer.dataset import Dataset, counted, make_feed
from gan_jax.transfer.ground import Ground
from gan_jax.transfer.method import Method
from gan_jax.transfer.methods import make_method
from gan_jax.transfer.start import RUN_KEY, make_ready, make_start
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
    made: Method
    scaled: bool  # whether members may have other learning rates, as factors in their states

    @property
    def pair(self) -> Pair:
        """The networks as they train."""
        return self.made.grafted(self.bare)

    @property
    def trains(self) -> tuple[Chosen, Chosen]:
        """Which leaves train."""
        return self.made.trains("g"), self.made.trains("d")

    def task_of(self, axis_name: str | None) -> Task:
        """The task with batch statistics synchronised over an axis."""
        return image_task(self.made.grafted(build(self.config.net, axis_name)), self.config.augment)

    def member(self, config: Config, dataset: Dataset) -> Member:
        """A run at its start: what `run` would make of this configuration.

        Raises:
          ConfigError, PlanError, NonFiniteError: the method refuses, or its preparation breaks.
        """
        began = time.monotonic()
        feed = make_feed(config, dataset)
        key = jax.random.fold_in(root_key(config.train.seed), RUN_KEY)
        start = make_start(config, self.bare, self.made)
        ready = make_ready(Ground(config, feed, key, self.made.grafted), start, self.made)
        state = self._begin(ready.g, ready.d, ready.kept, key)
        extras = dict(state.extras)
        if self.scaled:
            extras[LR_SCALE] = jnp.float32(config.optim.lr / self.config.optim.lr)
        state = dataclasses.replace(state, images=state.images + ready.images, extras=extras)
        return Member(config, dataset, feed, jax.block_until_ready(state), time.monotonic() - began)

    def _begin(self, g: Any, d: Any, kept: Any, key: jax.Array) -> GanState:
        task, made = self.task_of(None), self.made
        begin = lambda g, d, kept, key: init_state(task, self.config, key, g, d, self.trains, made.extension, kept)
        return jax.jit(begin)(g, d, kept, key)

    def cost(self) -> dict[str, Any]:
        """Trained and all parameters by network, and floating-point operations of a step."""
        specs: dict[str, Any] = {"g": self.pair.g.specs()["params"], "d": self.pair.d.specs()["params"]}
        trained = {
            name: count(partition(specs[name], chosen)[0]) for name, chosen in zip("gd", self.trains, strict=True)
        }
        return {
            "trained": trained,
            "parameters": {name: count(tree) for name, tree in specs.items()},
            "flops_per_step": step_flops(
                self.config, self.trains, grafted=self.made.grafted, extension=self.made.extension, keep=self.made.keep
            ),
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
