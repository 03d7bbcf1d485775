"""Preparations of methods before the main training: their context, their result, and training in stages."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from gan_jax.config import Config, OptimConfig, ScratchConfig
from gan_jax.random_streams import STAGE_KEY
from gan_jax.surgery import Difference, Plan
from gan_jax.surgery.provenance import Step
from gan_jax.tasks import task_of
from gan_jax.train.extension import NO_EXTENSION, Extension
from gan_jax.train.feed import Feed
from gan_jax.train.fit import Hooks, dispatch_images, total_images
from gan_jax.train.state import GanState, Networks
from gan_jax.train.step import Chosen
from gan_jax.train.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class Start:
    """Variables before training, and how they came to be."""

    nets: Networks
    plan: Plan | None = None
    differences: dict[str, Difference] | None = None  # of the function, measured on probes
    history: tuple[Step, ...] = ()  # of the source, and the transplant


@dataclasses.dataclass(frozen=True)
class PreparedState:
    """The result of a preparation: the start of the main training.

    Attributes:
      nets: variables by network, with unchanged shapes.
      constants: of the method, with unchanged shapes.
      images: real images shown to D; they count towards `train.kimg`.
      history: of the networks; None = that of the start. It differs, for example, where G is another source's.
      record: measurements and decisions, JSON values; a run writes them to `prepared.json`.
      notes: the same as log messages.
    """

    nets: Networks
    constants: dict[str, Any]
    images: int = 0
    history: tuple[dict[str, Any], ...] | None = None
    record: dict[str, Any] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


def _unwatched(name: str, images: int, total: int, metrics: dict[str, Any]) -> None:
    """Callback of a stage that does nothing."""


@dataclasses.dataclass(frozen=True)
class PrepareContext:
    """The context of a preparation.

    Attributes:
      trainer: of the run.
      key: typed PRNG key of the preparation.
      start: of the run, from `transfer.start.make_start`.
      open_donor: `(name of another source, networks=("g",)) -> Start` of a run that took these networks from it.
      stage: `(name, images, total, metrics)`, called with the progress of stages.
    """

    trainer: Trainer
    key: jax.Array
    start: Start
    open_donor: Callable[..., Start]
    stage: Callable[[str, int, int, dict[str, Any]], None] = _unwatched

    @property
    def config(self) -> Config:
        """Configuration of the run."""
        return self.trainer.config

    @property
    def feed(self) -> Feed:
        """Data of the run."""
        return self.trainer.feed

    def replace(self, **changes: Any) -> PrepareContext:
        """A context with other values."""
        return dataclasses.replace(self, **changes)

    def with_optim(self, optim: OptimConfig) -> PrepareContext:
        """A context whose stages have another optimiser."""
        config = dataclasses.replace(self.config, optim=optim)
        return self.replace(trainer=self.trainer.replace(config=config))

    def train(
        self,
        nets: Networks,
        kimg: float,
        *,
        trains: dict[str, Chosen],
        wrap: Callable[[Any], Any] | None = None,
        extension: Extension = NO_EXTENSION,
        constants: dict[str, Any] | None = None,
        optim: OptimConfig | None = None,
        name: str = "preparation",
        row: Callable[[int, dict[str, float]], None] = Hooks.row,
    ) -> GanState:
        """Trains a stage before the main training, with optimisers of its own.

        Args:
          nets: variables by network.
          kimg: real images shown to D, thousands; rounded up to whole dispatches.
          trains: which leaves are trained, by network.
          wrap: makes the networks of the stage from plain ones; None = the run's networks.
          extension: additions to each step of the stage.
          constants: constants of the stage.
          optim: of the stage; None = the run's, with a constant learning rate.
          name: of the stage, for the callbacks.
          row: `(images, metrics)`, called with each logged dispatch.

        Returns:
          the state at the end on one device, as the start; leaves that the extension shards stay sharded.
        """
        train = dataclasses.replace(self.config.train, kimg=max(kimg, dispatch_images(self.config) / 1000))
        optim = optim or dataclasses.replace(self.config.optim, schedule="constant")
        config = dataclasses.replace(self.config, train=train, optim=optim, transfer=ScratchConfig())
        make_task = self.trainer.make_task if wrap is None else task_of(wrap)
        trainer = self.trainer.replace(
            config=config, make_task=make_task, trains=trains.__getitem__, extension=extension
        )
        key = jax.random.fold_in(self.key, STAGE_KEY)
        programs, total = trainer.compile(), total_images(config)

        def watched(images: int, metrics: dict[str, float]) -> None:
            row(images, metrics)
            self.stage(name, images, total, metrics)

        self.stage(name, 0, total, {})
        if extension.sharding is not None:  # before the state is built, or one device would hold all of it
            nets, constants, key = next(iter(programs.values())).put((nets, constants, key))

        def begin(nets: Networks, constants: dict[str, Any] | None, key: jax.Array) -> GanState:
            return trainer.init(nets, key, constants)

        state = trainer.fit(jax.jit(begin)(nets, constants, key), Hooks(row=watched), programs)[0]

        def on_one_device(leaf: Any) -> Any:
            return leaf.addressable_data(0) if leaf.is_fully_replicated else leaf

        return jax.tree_util.tree_map(on_one_device, state)


def no_leaf(path: str) -> bool:
    """Trains nothing."""
    return False


def every_leaf(path: str) -> bool:
    """Trains everything."""
    return True
