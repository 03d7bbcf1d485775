"""Trainers of runs, from a configuration and a method."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gan_jax.config import Config
from gan_jax.tasks import task_of
from gan_jax.train.feed import Feed, resident_feed
from gan_jax.train.trainer import Trainer

if TYPE_CHECKING:
    from gan_jax.transfer.method import Method


def make_trainer(config: Config, method: Method, feed: Feed) -> Trainer:
    """Makes the trainer of a run: networks as the method wraps them, their trained leaves, additions to the step."""
    return Trainer(config, task_of(method.wrap), feed, method.trains, method.extension)


def step_flops(config: Config, method: Method, count: int = 64) -> float:
    """Counts the floating-point operations of one step of a method on one device; see `Trainer.flops`.

    Args:
      config: networks, loss and batch size.
      method: wraps the networks, adds to the step and has constants.
      count: images in the resident set.
    """
    net = config.net
    images = np.zeros((count, net.resolution, net.resolution, net.channels), np.uint8)
    labels = np.zeros((count,), np.int32) if net.num_classes else None
    feed = resident_feed(images, labels, config.data.mirror)
    return make_trainer(config, method, feed).flops(method.constants)
