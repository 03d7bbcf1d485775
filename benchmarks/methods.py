"""The cost of a step of every transfer method against full fine-tuning: operations, and seconds of training.

All methods train one pair with one loss, each in its own program. The preparation before the run (a probe, a mining stage,
an estimate of information) is not counted. The methods take turns in every round, so that a busy machine slows all of them.
A ratio is a method's seconds over those of fine-tuning in the same round; the median and the quartiles over rounds are
reported. Operations are XLA's count of the lowered step, in which work of some steps only (RICK's estimates, RSSA's
correlations between latents) counts as if in each; the seconds are those of full periods.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from gan_jax.config import (
    FUSIONS,
    METHOD_NAMES,
    AugmentConfig,
    Config,
    LossConfig,
    MethodConfig,
    ResNetConfig,
    TrainConfig,
)
from gan_jax.nets import build
from gan_jax.train.compile import use_all_cores
from gan_jax.train.feed import Feed, resident_feed
from gan_jax.train.state import GanState
from gan_jax.train.trainer import Trainer
from gan_jax.transfer.method import make_trainer, step_flops
from gan_jax.transfer.methods import make_method
from gan_jax.trees import count, partition

TITLE = "One D and one G update by every method, ResNet pair of 32 px and up to 32 channels, 16 images"
NET = ResNetConfig(resolution=32, channel_max=32)
BATCH, SHOTS = 16, 100
STEPS, DISPATCHES = 8, 6  # 48 steps: full periods of work that is done every 3rd, 4th, 6th and 48th step
ROUNDS = 7
OPTIONS: dict[str, dict[str, Any]] = {  # options that a method needs, or that give full periods
    "adafm": {"d_blocks": 1},
    "bsa": {"images": SHOTS},
    "minegan": {"miner_width": 128},
    "rick": {"every": 48},
}
# Fine-tuning from other weights; one that needs an encoder; several at once.
LEFT_OUT = ("scratch", "nada", "chain")
BASE = "finetune"


def run() -> list[dict[str, Any]]:
    """One row for each method."""
    use_all_cores()
    configs = {name: config_of(METHOD_NAMES[name](**OPTIONS.get(name, {}))) for name in compared()}
    costs = {name: _cost(config) for name, config in configs.items()}
    seconds = time_in_turns({name: _dispatches(config) for name, config in configs.items()}, ROUNDS)
    steps = STEPS * DISPATCHES
    return [
        {
            "method": name,
            **costs[name],
            "flops_ratio": costs[name]["gflop_per_step"] / costs[BASE]["gflop_per_step"],
            "ms_per_step": 1000 * float(np.median(seconds[name])) / steps,
            **ratios(seconds[name], seconds[BASE]),
        }
        for name in configs
    ]


def compared() -> list[str]:
    """The methods with a step of their own. A fusion has that of fine-tuning; its stage is in `benchmarks.fusion`."""
    return [name for name in METHOD_NAMES if name not in LEFT_OUT and name not in FUSIONS]


def ratios(seconds: list[float], base: list[float]) -> dict[str, float]:
    """The median and the quartiles of a method's seconds over those of `base` in the same rounds."""
    low, middle, high = np.quantile(np.divide(seconds, base), (0.25, 0.5, 0.75))
    return {"time_ratio": float(middle), "lower_quartile": float(low), "upper_quartile": float(high)}


def time_in_turns(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call in each round; all are called once before, to compile, and rounds begin with different calls."""
    for call in calls.values():
        call()
    names, seconds = list(calls), {name: [] for name in calls}
    for i in range(rounds):
        first = i * len(names) // rounds
        for name in names[first:] + names[:first]:
            began = time.perf_counter()
            calls[name]()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def config_of(transfer: MethodConfig) -> Config:
    """The run of a method."""
    return Config(
        net=NET,
        loss=LossConfig("relativistic"),
        augment=AugmentConfig(policy=("translation",)),
        train=TrainConfig(batch=BATCH, steps_per_dispatch=STEPS),
        transfer=transfer,
    )


def _cost(config: Config) -> dict[str, float]:
    """Trained parameters, and operations of a step on one device."""
    method = make_method(config.transfer, build(config.net))
    nets = method.wrap(build(config.net)).nets
    trained = {name: count(partition(net.specs()["params"], method.trains(name))[0]) for name, net in nets.items()}
    if not method.extension.adversarial:
        trained["d"] = 0
    flops = step_flops(config, method, SHOTS)
    return {"trained_g": trained["g"], "trained_d": trained["d"], "gflop_per_step": flops / 1e9}


def _dispatches(config: Config) -> Callable[[], None]:
    """Runs some dispatches to their end and carries the state to the next call."""
    method, pair = make_method(config.transfer, build(config.net)), build(config.net)
    trainer = make_trainer(config, method, noise_feed(config))

    def begin(key: jax.Array) -> GanState:
        keys = jax.random.split(key)
        nets = {name: method.attach(name, net.init(k), k) for (name, net), k in zip(pair.nets.items(), keys)}
        return trainer.init(nets, key, method.constants(nets))

    return runner(trainer, begin)


def noise_feed(config: Config) -> Feed:
    """Random images of the size of a network."""
    net = config.net
    shape = (SHOTS, net.resolution, net.resolution, net.channels)
    return resident_feed(np.random.default_rng(0).integers(0, 256, shape, np.uint8), None, mirror=False)


def runner(trainer: Trainer, begin: Callable[[jax.Array], GanState]) -> Callable[[], None]:
    """A call that trains for some dispatches and waits for their end; the next call goes on from there.

    Args:
      trainer: of the run.
      begin: `key -> state`.
    """
    program = trainer.compile()[trainer.stages()[-1]]
    state = program.put(jax.jit(begin)(jax.random.key(0)))
    data = program.put_data(trainer.feed.resident or {})

    def call() -> None:
        nonlocal state
        for _ in range(DISPATCHES):
            state, metrics = program.run(state, data)
            jax.block_until_ready(metrics)

    return call
