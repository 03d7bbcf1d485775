"""Several seeds of a transfer: one after the other through one program, all in one program, or naively.

Naively: each run compiles its own program, as separate commands would. The others compile once. Images per second count
the real images shown to D over all replicas. Compilation has its own column, and `ratio` is the throughput relative to
naive runs of as many steps, compilation counted in both. All take turns in one process, and the best round counts.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import jax
import numpy as np

from gan_jax.config import AugmentConfig, Config, LossConfig, ResNetConfig, TrainConfig
from gan_jax.tasks import task_of
from gan_jax.train.compile import Program, use_all_cores
from gan_jax.train.feed import resident_feed
from gan_jax.train.trainer import Trainer

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


def run() -> list[dict[str, Any]]:
    """One row for each execution strategy."""
    use_all_cores()
    feeds = [resident_feed(_images(seed), None, mirror=False) for seed in range(MEMBERS)]
    trainer = Trainer(CONFIG, task_of(), feeds[0])
    alone = trainer.replace(config=dataclasses.replace(CONFIG, train=dataclasses.replace(CONFIG.train, devices=1)))
    (over_all,), (on_one,) = trainer.compile().values(), alone.compile().values()
    (together,) = trainer.compile_population(jax.devices()[:MEMBERS]).values()
    begin = jax.jit(lambda seed: trainer.init(trainer.init_networks(jax.random.key(seed)), jax.random.key(seed)))
    states = lambda: [begin(seed) for seed in range(MEMBERS)]
    ways = {
        "serial, over all devices": _serial(over_all, states(), feeds),
        "serial, on one device": _serial(on_one, states(), feeds),
        "population, dealt to devices": _population(together, states(), feeds),
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
    """An execution strategy that gives every replica one dispatch; a call returns its seconds."""

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


def _serial(program: Program, states: list[Any], feeds: list[Any]) -> _Way:
    return _Way(program, [program.put(state) for state in states], [program.put_data(feed.resident) for feed in feeds])


def _population(program: Program, states: list[Any], feeds: list[Any]) -> _Way:
    stacked = jax.tree_util.tree_map(lambda *leaves: jax.numpy.stack(leaves), *states)
    data = {"image": np.stack([feed.resident["image"] for feed in feeds])}
    return _Way(program, [program.put(stacked)], [program.put_data(data)])


def _images(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (100, 16, 16, 1), np.uint8)
