"""Tasks: networks and the phases that train them. The step is the same for all tasks.

A new task is a dataclass of `config.training` and a row of `TASKS`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from gan_jax.config import Config, ConfigError, ImageTask, LayoutTask, OneSidedTask, PairedTask, UnpairedTask
from gan_jax.nets import Networks, build
from gan_jax.tasks.image import image_task
from gan_jax.tasks.layout import layout_task
from gan_jax.tasks.one_sided import one_sided_networks, one_sided_task
from gan_jax.tasks.paired import paired_task
from gan_jax.tasks.unpaired import unpaired_networks, unpaired_task
from gan_jax.train.extension import Extension
from gan_jax.train.task import Task
from gan_jax.train.trainer import MakeTask

__all__ = ["TASKS", "TaskFamily", "image_task", "networks_of", "task_of"]


@dataclasses.dataclass(frozen=True)
class TaskFamily:
    """The functions that make a kind of task.

    Attributes:
      networks: `(config, axis name) -> plain networks`, with batch statistics synchronised over the axis.
      make: `(networks, config, extension) -> Task` of these networks, which may be wrapped.
    """

    networks: Callable[[Config, str | None], Any]
    make: Callable[[Any, Config, Extension], Task]


def _pair(config: Config, axis_name: str | None) -> Networks:
    return build(config.net, axis_name)


TASKS: dict[type, TaskFamily] = {
    ImageTask: TaskFamily(_pair, image_task),
    PairedTask: TaskFamily(_pair, paired_task),
    UnpairedTask: TaskFamily(unpaired_networks, unpaired_task),
    OneSidedTask: TaskFamily(one_sided_networks, one_sided_task),
    LayoutTask: TaskFamily(_pair, layout_task),
}


def networks_of(config: Config, axis_name: str | None = None) -> Any:
    """Makes the plain networks of a configuration."""
    return _family(config).networks(config, axis_name)


def _as_they_are(networks: Any) -> Any:
    return networks


def task_of(wrap: Callable[[Any], Any] = _as_they_are) -> MakeTask:
    """Makes `(config, axis name, extension) -> Task`, whose networks are those of `wrap(plain networks)`."""

    def make_task(config: Config, axis_name: str | None, extension: Extension) -> Task:
        return _family(config).make(wrap(networks_of(config, axis_name)), config, extension)

    return make_task


def _family(config: Config) -> TaskFamily:
    if type(config.task) not in TASKS:
        known = ", ".join(kind.__name__ for kind in TASKS)
        raise ConfigError(f"no task for {type(config.task).__name__}; the known ones are {known}")
    return TASKS[type(config.task)]
