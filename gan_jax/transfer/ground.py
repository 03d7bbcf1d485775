"""What a method's preparation stands on: the start of the run, its data, and a way to train for a while."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from gan_jax.config import Config, ScratchConfig
from gan_jax.nets import Pair, build
from gan_jax.tasks import Task
from gan_jax.tasks.image import image_task
from gan_jax.train.extension import NO_EXTENSION, Extension
from gan_jax.train.feed import Feed
from gan_jax.train.fit import compile_phases, dispatch_images, fit
from gan_jax.train.state import GanState, Variables
from gan_jax.train.steps import init_state
from gan_jax.train.update import Chosen


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What a preparation leaves: the start of the run proper.

    Attributes:
      g, d: variables, with the shapes that came in.
      kept: the same.
      images: real images that D was shown; they count towards `train.kimg`.
    """

    g: Variables
    d: Variables
    kept: dict[str, Any]
    images: int = 0


@dataclasses.dataclass(frozen=True)
class Ground:
    """Where a preparation works.

    Attributes:
      config: of the run.
      feed: its data.
      key: typed PRNG key of the preparation.
      grafted: the pair of the run as it trains, made of a plain one.
    """

    config: Config
    feed: Feed
    key: jax.Array
    grafted: Callable[[Pair], Pair]

    def task(self, axis_name: str | None = None, grafted: Callable[[Pair], Pair] | None = None) -> Task:
        """The game of the run."""
        return image_task((grafted or self.grafted)(build(self.config.net, axis_name)), self.config.augment)

    def train(
        self,
        g: Variables,
        d: Variables,
        kimg: float,
        *,
        trains: tuple[Chosen, Chosen],
        grafted: Callable[[Pair], Pair] | None = None,
        extension: Extension = NO_EXTENSION,
        kept: dict[str, Any] | None = None,
    ) -> GanState:
        """A stage of training before the run proper, with optimisers of its own and a constant learning rate.

        Args:
          g, d: variables of the pair.
          kimg: real images shown to D, thousands; rounded up to whole dispatches.
          trains: which leaves train.
          grafted: the pair of the stage, where it is not the run's.
          extension: what the stage adds to the game.
          kept: what it reads in its turns.
        """
        train = dataclasses.replace(self.config.train, kimg=max(kimg, dispatch_images(self.config) / 1000))
        optim = dataclasses.replace(self.config.optim, schedule="constant")
        config = dataclasses.replace(self.config, train=train, optim=optim, transfer=ScratchConfig())
        task_of = lambda axis: self.task(axis, grafted)
        begin = lambda g, d, kept: init_state(task_of(None), config, self.key, g, d, trains, extension, kept)
        programs = compile_phases(config, task_of, self.feed, trains, extension)
        state = fit(config, programs, self.feed, trains, jax.jit(begin)(g, d, kept))[0]
        return jax.tree_util.tree_map(lambda leaf: leaf.addressable_data(0), state)  # as the start is, on one device
