"""Populations: the setup that replicas share, and the strategies that train them."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config import Config
from gan_jax.nets import Networks
from gan_jax.random_streams import RUN_KEY
from gan_jax.seeds import root_key
from gan_jax.tasks import networks_of
from gan_jax.train.compile import Program, choose_devices
from gan_jax.train.feed import Feed
from gan_jax.train.fit import Hooks, NonFiniteError, Phases, dispatch_images, is_due
from gan_jax.train.optim import LR_SCALE
from gan_jax.train.state import GanState
from gan_jax.train.trainer import Trainer
from gan_jax.transfer.dataset import Dataset, counted, make_feed
from gan_jax.transfer.method import Method, make_trainer, step_flops
from gan_jax.transfer.methods import make_method
from gan_jax.transfer.start import make_prepared, make_start
from gan_jax.trees import count, partition

# ----------------------------------------------------------------------------------------------------------------------
# The setup of a population: one method on the same networks for all replicas, and the start of each replica.


@dataclasses.dataclass(frozen=True)
class Replica:
    """One run of a population, ready to train.

    Attributes:
      config: of this run by itself.
      dataset: its images.
      feed: its batches.
      state: its start, after the method's preparation.
      prepare_s: seconds that the start took, compilation included.
    """

    config: Config
    dataset: Dataset
    feed: Feed
    state: GanState
    prepare_s: float


@dataclasses.dataclass(frozen=True)
class Setup:
    """What all replicas of a population share, and is compiled once.

    Attributes:
      config: of any replica; its seed is not read, its learning rate is compiled in.
      plain: the networks without what the method adds.
      method: of all replicas.
      scaled: whether replicas may have other learning rates, as factors in their states.
    """

    config: Config
    plain: Networks
    method: Method
    scaled: bool

    @property
    def networks(self) -> Networks:
        """The networks as they train."""
        return self.method.wrap(self.plain)

    def trainer(self, feed: Feed) -> Trainer:
        """The trainer of a replica, on its data."""
        return make_trainer(self.config, self.method, feed)

    def replica(self, config: Config, dataset: Dataset) -> Replica:
        """A replica at its start, equal to the start of `run` with this configuration.

        Raises:
          ConfigError, PlanError, NonFiniteError: the method refuses, or its preparation breaks.
        """
        began = time.monotonic()
        feed = make_feed(config, dataset)
        key = jax.random.fold_in(root_key(config.train.seed), RUN_KEY)
        start, trainer = make_start(config, self.plain, self.method), self.trainer(feed)
        prepared = make_prepared(make_trainer(config, self.method, feed), start, self.method, key)
        begin = lambda nets, constants, key: trainer.init(nets, key, constants)
        state = jax.jit(begin)(prepared.nets, prepared.constants, key)
        extras = dict(state.extras)
        if self.scaled:
            extras[LR_SCALE] = jnp.float32(config.optim.lr / self.config.optim.lr)
        state = state.replace(images=state.images + prepared.images, extras=extras)
        return Replica(config, dataset, feed, jax.block_until_ready(state), time.monotonic() - began)

    def cost(self) -> dict[str, Any]:
        """The numbers of trained and of all parameters by network, and the floating-point operations of a step."""
        specs: dict[str, Any] = {name: net.specs()["params"] for name, net in self.networks.nets.items()}
        trained = {name: count(partition(tree, self.method.trains(name))[0]) for name, tree in specs.items()}
        return {
            "trained": trained,
            "parameters": {name: count(tree) for name, tree in specs.items()},
            "flops_per_step": step_flops(self.config, self.method),
        }


def make_setup(config: Config, shots: int, scaled: bool = False) -> Setup:
    """Makes the setup of a population.

    Args:
      config: of any replica, with expanded paths; its learning rate is compiled in.
      shots: training images of each replica.
      scaled: whether other replicas have other learning rates.

    Raises:
      ConfigError: a configuration that cannot run, or a network that the method refuses.
    """
    plain = networks_of(config.validate())
    return Setup(config, plain, make_method(counted(config.transfer, shots), plain), scaled)


# ----------------------------------------------------------------------------------------------------------------------
# Execution strategies of a population: its replicas one after the other, or all in one program. Both compile once.
#
# Seconds are those of training alone; compilation and evaluations are timed separately. Each replica computes what `run`
# computes with its configuration.

Strategy = Literal["serial", "population"]
Evaluate = Callable[
    [int, int, float, Any, dict[str, float]], None
]  # (replica, images, seconds, averages by generator, losses)


class Stopped(Exception):
    """Training was stopped from outside; unfinished trials are discarded."""


@dataclasses.dataclass
class PopulationResult:
    """The result of training a population.

    Attributes:
      states: by replica, at the end, on the host; None where it failed.
      failures: replica -> its error as a sentence.
      train_s: seconds of training by replica; in one program, an equal share of the time.
      compile_s: seconds of compilation, for all replicas.
      devices: number of devices that a replica's step uses.
    """

    states: list[GanState | None]
    failures: dict[int, str]
    train_s: list[float]
    compile_s: float
    devices: int


def train_serial(
    setup: Setup, replicas: Sequence[Replica], evaluate: Evaluate, stop: Callable[[], bool]
) -> PopulationResult:
    """One replica after the other through one program, each over all devices that divide the batch."""
    first = replicas[0]
    trainer = setup.trainer(first.feed)
    place = lambda program: (program.put(first.state), program.put_data(first.feed.resident))
    programs, compile_s = _compiled(trainer.compile(), place)
    devices = choose_devices(setup.config.train.devices, setup.config.train.batch)
    result = PopulationResult([], {}, [], compile_s, len(devices))
    for i, replica in enumerate(replicas):
        clock, losses = _Clock(), {}

        def measure(images: int, state: GanState, i: int = i, clock: _Clock = clock, losses: Any = losses) -> float:
            with clock.paused():
                evaluate(i, images, clock.seconds, jax.device_get(state.ema), losses)
            return 0.0

        hooks = Hooks(row=lambda _, metrics, losses=losses: losses.update(metrics), evaluate=measure, stop=stop)
        try:
            state, stopped = setup.trainer(replica.feed).fit(replica.state, hooks, programs)
        except NonFiniteError as error:
            result.failures[i] = str(error)
            state, stopped = None, False
        if stopped:
            raise Stopped
        result.states.append(None if state is None else jax.device_get(_with_key_data(state)))
        result.train_s.append(clock.seconds)
    return result


def train_population(
    setup: Setup, replicas: Sequence[Replica], evaluate: Evaluate, stop: Callable[[], bool]
) -> PopulationResult:
    """All replicas in one program, spread over the devices."""
    config, train = setup.config, setup.config.train
    devices = jax.devices()[: len(replicas)]
    padded = [*replicas, *[replicas[-1]] * (-len(replicas) % len(devices))]  # to the same number on each device
    trainer = setup.trainer(replicas[0].feed)
    programs, compile_s = _compiled(trainer.compile_population(devices), lambda program: _placed(program, padded))
    state, data = _placed(next(iter(programs.values())), padded)
    span = dispatch_images(config)
    total = -(-int(round(train.kimg * 1000)) // span) * span
    images, clock = int(replicas[0].state.images), _Clock()
    names = {phases: trainer.guard_names(replicas[0].state, phases) for phases in programs}
    failures: dict[int, str] = {}
    while images < total:
        phases = trainer.task.active(images)
        state, metrics = programs[phases].run(state, data)
        metrics = jax.device_get(metrics)
        images += span
        finite = metrics.pop("finite")  # [replicas, steps, leaves]
        for i in range(len(replicas)):
            if i not in failures and not finite[i].all():
                failures[i] = (
                    f"values that are not finite by {images} images, first in {_first(finite[i], names[phases])}"
                )
        if stop():
            raise Stopped
        if images >= total or is_due(config, config.evaluate.every_kimg, images):
            with clock.paused():
                averages, seconds = jax.device_get(state.ema), clock.seconds / len(replicas)
                for i in range(len(replicas)):
                    if i not in failures:
                        losses = {name: float(values[i]) for name, values in metrics.items()}
                        evaluate(i, images, seconds, _pick(averages, i), losses)
    states = jax.device_get(_with_key_data(state))
    ends = [None if i in failures else _pick(states, i) for i in range(len(replicas))]
    return PopulationResult(ends, failures, [clock.seconds / len(replicas)] * len(replicas), compile_s, 1)


def _placed(program: Program, replicas: Sequence[Replica]) -> tuple[Any, Any]:
    """States and data of all replicas, on a leading axis."""
    states = jax.tree_util.tree_map(lambda *leaves: jnp.stack(leaves), *(replica.state for replica in replicas))
    feeds = [replica.feed.resident or {} for replica in replicas]
    return program.put(states), program.put_data({name: np.stack([feed[name] for feed in feeds]) for name in feeds[0]})


def _compiled(
    programs: dict[Phases, Program], place: Callable[[Program], tuple[Any, Any]]
) -> tuple[dict[Phases, Program], float]:
    """The programs compiled ahead of time, and the seconds of compilation."""
    began, compiled = time.monotonic(), {}
    for phases, program in programs.items():
        run: Any = program.run
        compiled[phases] = dataclasses.replace(program, run=run.lower(*place(program)).compile())
    return compiled, time.monotonic() - began


def _first(finite: np.ndarray, names: list[str]) -> str:
    return names[int(np.argwhere(~finite)[0][1])]


def _pick(tree: Any, i: int) -> Any:
    return jax.tree_util.tree_map(lambda leaf: leaf[i], tree)


def _with_key_data(state: Any) -> Any:
    """The state with its key as uint32 data: typed keys cannot be copied to the host as arrays."""
    return dataclasses.replace(state, key=jax.random.key_data(state.key))


class _Clock:
    """Measures the seconds since its creation, without pauses."""

    def __init__(self) -> None:
        self.began, self.paused_s = time.monotonic(), 0.0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began - self.paused_s

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        now = time.monotonic()
        try:
            yield
        finally:
            self.paused_s += time.monotonic() - now


STRATEGIES: dict[Strategy, Callable[..., PopulationResult]] = {"serial": train_serial, "population": train_population}


def choose_strategy() -> Strategy:
    """The fastest strategy on this platform, as measured by `benchmarks/population.py`."""
    return "population"
