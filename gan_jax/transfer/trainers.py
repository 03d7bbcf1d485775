"""From a configuration and a method to the trainer of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from gan_jax.config import Config
from gan_jax.nets import Pair, build
from gan_jax.tasks.image import image_task
from gan_jax.train.extension import Extension
from gan_jax.train.feed import Feed, resident_feed
from gan_jax.train.task import Task
from gan_jax.train.trainer import MakeTask, Trainer

if TYPE_CHECKING:
    from gan_jax.transfer.method import Method


def plain_networks(pair: Pair) -> Pair:
    """The networks as they are."""
    return pair


def task_of(wrap: Callable[[Pair], Pair] = plain_networks) -> MakeTask:
    """What makes the task of a configuration, of networks that `wrap` makes of the plain ones."""

    def make_task(config: Config, axis_name: str | None, extension: Extension) -> Task:
        return image_task(wrap(build(config.net, axis_name)), config, extension)

    return make_task


def make_trainer(config: Config, method: Method, feed: Feed) -> Trainer:
    """The trainer of a run: its networks as the method wraps them, what trains of them, what is added to the step."""
    return Trainer(config, task_of(method.wrap), feed, method.trains, method.extension)


def step_flops(config: Config, method: Method, count: int = 64) -> float:
    """Floating-point operations of one step of a method on one device; see `Trainer.flops`.

    Args:
      config: networks, loss and batch size.
      method: what it makes of the networks, adds to the step and keeps of the start.
      count: images in the resident set.
    """
    net = config.net
    images = np.zeros((count, net.resolution, net.resolution, net.channels), np.uint8)
    labels = np.zeros((count,), np.int32) if getattr(net, "num_classes", 0) else None
    feed = resident_feed(images, labels, config.data.mirror)
    return make_trainer(config, method, feed).flops(method.constants)
