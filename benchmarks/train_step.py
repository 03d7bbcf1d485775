"""Training steps of the small ResNet pair: one CPU core or all, one step in a dispatch or several.

A dispatch costs the host some milliseconds. XLA runs small convolutions on one thread, so that a run makes every core a
device. Images per second count the real images shown to D; a step is a D and a G update.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks._timing import best_ms
from gan_jax.config import Config, ResNetConfig, TrainConfig
from gan_jax.tasks import task_of
from gan_jax.train.compile import use_all_cores
from gan_jax.train.feed import resident_feed
from gan_jax.train.trainer import Trainer

TITLE = "One D and one G update of the ResNet pair, 32 images of 32 px, up to 32 channels"
STEPS = (1, 8)
NET = ResNetConfig(resolution=32, channel_max=32)
BATCH = 32


def run() -> list[dict[str, Any]]:
    """One row for each number of devices and of steps in a dispatch: ms of a step, images per second."""
    use_all_cores()
    counts = sorted({1, max(n for n in range(1, jax.device_count() + 1) if BATCH % n == 0)})
    cases = {f"{n} devices, K={k}": (n, k) for n in counts for k in STEPS}
    ms = best_ms({name: _dispatch(n, k) for name, (n, k) in cases.items()}, repeats=5)
    return [
        {
            "devices": n,
            "steps_per_dispatch": k,
            "ms_per_step": ms[name] / k,
            "images_per_s": 1000 * BATCH * k / ms[name],
        }
        for name, (n, k) in cases.items()
    ]


def _dispatch(devices: int, steps: int) -> Callable[[], Any]:
    """A function that runs one dispatch and carries its state to the next call."""
    config = Config(net=NET, train=TrainConfig(batch=BATCH, devices=devices, steps_per_dispatch=steps))
    images = np.random.default_rng(0).integers(0, 256, (256, NET.resolution, NET.resolution, NET.channels), np.uint8)
    trainer = Trainer(config, task_of(), resident_feed(images, None, mirror=False))
    (program,) = trainer.compile().values()
    begin = jax.jit(lambda key: trainer.init(trainer.init_networks(key), key))
    state, data = program.put(begin(jax.random.key(0))), program.put_data(trainer.feed.resident or {})

    def call() -> Any:
        nonlocal state
        state, metrics = program.run(state, data)
        return metrics

    return call
