"""Seeds of a transfer side by side: one after the other through one program, all in one program, or naively.

Naively: each run compiles its own program, as separate commands would. The others compile once. Images per second count
the real images shown to D over all members; compilation is a column of its own, and `ratio` is throughput beside naive
runs of so many steps, compilation counted on both sides. All take turns in one process, and the best round counts.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import jax
import numpy as np

from gan_jax.config import AugmentConfig, Config, LossConfig, ResNetConfig, TrainConfig
from gan_jax.nets import build
from gan_jax.tasks import image_task
from gan_jax.train.compile import Program, choose_devices, compile_jit, compile_population, use_all_cores
from gan_jax.train.feed import resident_feed
from gan_jax.train.step import init_state, make_step

TITLE = "Four members of the 16 px ResNet pair of 24 channels, batch 16: ways to train a population"
MEMBERS, STEPS, TOTAL = 4, 16, 320
ROUNDS = 3
NET = ResNetConfig(resolution=16, channels=1, z_dim=64, channel_base=1024, channel_max=24)
CONFIG = Config(
    net=NET,
    loss=LossConfig(name="relativistic"),
    augment=AugmentConfig(policy=("translation",)),
    train=TrainConfig(batch=16, steps_per_dispatch=STEPS),
)
ALL = (lambda path: True, lambda path: True)


def run() -> list[dict[str, Any]]:
    """One row for each way."""
    use_all_cores()
    feeds = [resident_feed(_images(seed), None, mirror=False) for seed in range(MEMBERS)]
    make = lambda axis_name, devices: make_step(
        image_task(build(NET, axis_name), CONFIG.augment), CONFIG, feeds[0].draw, ALL, axis_name=axis_name,
        devices=devices,
    )  # fmt: skip
    devices = jax.devices()[:MEMBERS]
    ways = {
        "serial, over all devices": _serial(compile_jit(make, STEPS, choose_devices(None, 16), True), feeds),
        "serial, on one device": _serial(compile_jit(make, STEPS, devices[:1], True), feeds),
        "population, dealt to devices": _population(compile_population(make, STEPS, devices, own_data=True), feeds),
    }
    best = {name: min(way() for _ in range(1)) for name, way in ways.items()}
    for _ in range(ROUNDS - 1):
        best |= {name: min(best[name], way()) for name, way in ways.items()}
    seconds = {name: best[name] * TOTAL / STEPS for name in ways}
    compile_s = {name: way.compile_s for name, way in ways.items()}
    naive = "naive: a program for each"
    seconds[naive] = seconds["serial, over all devices"]
    compile_s[naive] = MEMBERS * compile_s["serial, over all devices"]
    images = MEMBERS * 16 * TOTAL
    return [
        {
            "way": name,
            "images_per_s": images / seconds[name],
            "compile_s": compile_s[name],
            "ratio": (seconds[naive] + compile_s[naive]) / (seconds[name] + compile_s[name]),
        }
        for name in (naive, *ways)
    ]


@dataclasses.dataclass
class _Way:
    """A way to give every member one dispatch; a call returns its seconds."""

    programs: Program
    states: list[Any]
    data: list[Any]
    compile_s: float = 0.0

    def __post_init__(self) -> None:
        began = time.monotonic()
        self.compiled: Any = self.programs.run.lower(self.states[0], self.data[0]).compile()  # type: ignore[attr-defined]
        self.compile_s = time.monotonic() - began

    def __call__(self) -> float:
        began = time.monotonic()
        for i, state in enumerate(self.states):
            self.states[i], metrics = self.compiled(state, self.data[i])
            jax.block_until_ready(metrics)
        return time.monotonic() - began


def _serial(program: Program, feeds: list[Any]) -> _Way:
    states = [program.put(_begin(seed)) for seed in range(MEMBERS)]
    return _Way(program, states, [program.put_data(feed.resident) for feed in feeds])


def _population(program: Program, feeds: list[Any]) -> _Way:
    stack = lambda *leaves: jax.numpy.stack(leaves)
    states = jax.tree_util.tree_map(stack, *(_begin(seed) for seed in range(MEMBERS)))
    data = {"image": np.stack([feed.resident["image"] for feed in feeds])}
    return _Way(program, [program.put(states)], [program.put_data(data)])


@jax.jit
def _begin(seed: Any) -> Any:
    task, key = image_task(build(NET)), jax.random.key(seed)
    g, d = jax.random.split(key)
    return init_state(task, CONFIG, key, task.init_g(g), task.init_d(d), ALL)


def _images(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (100, 16, 16, 1), np.uint8)
