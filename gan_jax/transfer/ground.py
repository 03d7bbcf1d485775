"""What a method's preparation stands on: the start of the run, its data, and a way to train for a while."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from gan_jax.config import Config, OptimConfig, ScratchConfig
from gan_jax.nets import Pair, build
from gan_jax.tasks import Task
from gan_jax.tasks.image import image_task
from gan_jax.train.extension import NO_EXTENSION, Extension
from gan_jax.train.feed import Feed
from gan_jax.train.fit import Hooks, compile_phases, dispatch_images, fit, total_images
from gan_jax.train.state import GanState, Variables
from gan_jax.train.steps import init_state
from gan_jax.train.update import Chosen

STAGE_KEY = 2**31 - 2  # what the run's key is folded with, so that a stage draws other images and latents than the run


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What a preparation leaves: the start of the run proper.

    Attributes:
      g, d: variables, with the shapes that came in.
      kept: the same.
      images: real images that D was shown; they count towards `train.kimg`.
      history: of G and D, where it is another than that of the start, such as where G is another source's.
      found: what it measured and decided, JSON values; a run writes them to `prepared.json`.
      notes: the same for whoever watches, sentences.
    """

    g: Variables
    d: Variables
    kept: dict[str, Any]
    images: int = 0
    history: tuple[dict[str, Any], ...] | None = None
    found: dict[str, Any] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


def _nobody(name: str, images: int, total: int, metrics: dict[str, Any]) -> None:
    """Watches a stage."""


@dataclasses.dataclass(frozen=True)
class Ground:
    """Where a preparation works.

    Attributes:
      config: of the run.
      feed: its data.
      key: typed PRNG key of the preparation.
      grafted: the pair of the run as it trains, made of a plain one.
      start: of the run, as `transfer.start.make_start` made it.
      stage: `(name, images, total, metrics)`, told how far a stage is.
      donor: `(name of another source, networks=("g",)) -> the start that it would have been`, of these networks.
    """

    config: Config
    feed: Feed
    key: jax.Array
    grafted: Callable[[Pair], Pair]
    start: Any = None
    donor: Any = None
    stage: Callable[[str, int, int, dict[str, Any]], None] = _nobody

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
        optim: OptimConfig | None = None,
        name: str = "preparation",
        row: Callable[[int, dict[str, float]], None] = Hooks.row,
    ) -> GanState:
        """A stage of training before the run proper, with optimisers of its own.

        Args:
          g, d: variables of the pair.
          kimg: real images shown to D, thousands; rounded up to whole dispatches.
          trains: which leaves train.
          grafted: the pair of the stage, where it is not the run's.
          extension: what the stage adds to the game.
          kept: what it reads in its turns.
          optim: of the stage; None = as the run's, at a constant learning rate.
          name: of the stage, for whoever watches.
          row: `(images, metrics)` of each logged dispatch.

        Returns:
          the state at the end on one device, as the start is; leaves that the extension cuts stay cut.
        """
        train = dataclasses.replace(self.config.train, kimg=max(kimg, dispatch_images(self.config) / 1000))
        optim = optim or dataclasses.replace(self.config.optim, schedule="constant")
        config = dataclasses.replace(self.config, train=train, optim=optim, transfer=ScratchConfig())
        task_of = lambda axis: self.task(axis, grafted)
        key = jax.random.fold_in(self.key, STAGE_KEY)
        begin = lambda g, d, kept, key: init_state(task_of(None), config, key, g, d, trains, extension, kept)
        programs = compile_phases(config, task_of, self.feed, trains, extension)
        total = total_images(config)

        def told(images: int, metrics: dict[str, float]) -> None:
            row(images, metrics)
            self.stage(name, images, total, metrics)

        self.stage(name, 0, total, {})
        hooks = Hooks(row=told)
        if extension.cuts is not None:  # before anything is made of it, or one device would hold all
            g, d, kept, key = programs["both"].put((g, d, kept, key))
        state = fit(config, programs, self.feed, trains, jax.jit(begin)(g, d, kept, key), hooks)[0]
        here = lambda leaf: leaf.addressable_data(0) if leaf.is_fully_replicated else leaf
        return jax.tree_util.tree_map(here, state)
