"""Ways to train the members of a population: one after the other, or all in one program. Both compile once.

Seconds are of training alone: compilation and evaluations are timed by themselves. What `run` would compute for each
member by itself is what it computes here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.train.compile import Program, choose_devices
from gan_jax.train.fit import Hooks, NonFiniteError, Phases, dispatch_images, is_due
from gan_jax.train.state import GanState
from gan_jax.transfer.benchmark.game import Game, Member

WayName = Literal["serial", "population"]
Evaluate = Callable[[int, int, float, Any, dict[str, float]], None]  # (member, images, seconds, g_ema, losses)


class Stopped(Exception):
    """Somebody asked for the end; what is not finished is not kept."""


@dataclasses.dataclass
class Trained:
    """What became of each member.

    Attributes:
      states: at the end; None where it broke, and on the host.
      failures: sentences of those that broke.
      train_s: seconds of training by member; of a population, its share.
      compile_s: seconds of compilation, for all.
      devices: how many devices a member's step uses.
    """

    states: list[GanState | None]
    failures: dict[int, str]
    train_s: list[float]
    compile_s: float
    devices: int


def train_serial(game: Game, members: Sequence[Member], evaluate: Evaluate, stop: Callable[[], bool]) -> Trained:
    """One member after the other through one program, each over all devices that divide the batch."""
    first = members[0]
    trainer = game.trainer(first.feed)
    place = lambda program: (program.put(first.state), program.put_data(first.feed.resident))
    programs, compile_s = _compiled(trainer.compile(), place)
    out = Trained([], {}, [], compile_s, len(choose_devices(game.config.train.devices, game.config.train.batch)))
    for i, member in enumerate(members):
        clock, losses = _Clock(), {}

        def seen(images: int, state: GanState, i: int = i, clock: _Clock = clock, losses: Any = losses) -> float:
            with clock.paused():
                evaluate(i, images, clock.seconds, jax.device_get(state.ema["g"]), losses)
            return 0.0

        hooks = Hooks(row=lambda _, metrics, kept=losses: kept.update(metrics), evaluate=seen, stop=stop)
        try:
            state, stopped = game.trainer(member.feed).fit(member.state, hooks, programs)
        except NonFiniteError as error:
            out.failures[i] = str(error)
            state, stopped = None, False
        if stopped:
            raise Stopped
        out.states.append(None if state is None else jax.device_get(_without_key(state)))
        out.train_s.append(clock.seconds)
    return out


def train_population(game: Game, members: Sequence[Member], evaluate: Evaluate, stop: Callable[[], bool]) -> Trained:
    """All members in one program, spread over the devices."""
    config, train = game.config, game.config.train
    devices = jax.devices()[: len(members)]
    filled = [*members, *[members[-1]] * (-len(members) % len(devices))]  # a device's share must be whole
    trainer = game.trainer(members[0].feed)
    programs, out_s = _compiled(trainer.compile_population(devices), lambda program: _placed(program, filled))
    placed, data = _placed(next(iter(programs.values())), filled)
    span = dispatch_images(config)
    total = -(-int(round(train.kimg * 1000)) // span) * span
    images, clock = int(members[0].state.images), _Clock()
    names = {phases: trainer.guard_names(members[0].state, phases) for phases in programs}
    failures: dict[int, str] = {}
    while images < total:
        phases = trainer.task.active(images)
        placed, metrics = programs[phases].run(placed, data)
        host = jax.device_get(metrics)
        images += span
        finite = host.pop("finite")  # [members, steps, leaves]
        for i in range(len(members)):
            if i not in failures and not finite[i].all():
                failures[i] = (
                    f"values that are not finite by {images} images, first in {_first(finite[i], names[phases])}"
                )
        if stop():
            raise Stopped
        if images >= total or is_due(config, config.evaluate.every_kimg, images):
            with clock.paused():
                averages, seconds = jax.device_get(placed.ema["g"]), clock.seconds / len(members)
                for i in range(len(members)):
                    if i not in failures:
                        losses = {name: float(values[i]) for name, values in host.items()}
                        evaluate(i, images, seconds, _pick(averages, i), losses)
    states = jax.device_get(_without_key(placed))
    ends = [None if i in failures else _pick(states, i) for i in range(len(members))]
    return Trained(ends, failures, [clock.seconds / len(members)] * len(members), out_s, 1)


def _placed(program: Program, members: Sequence[Member]) -> tuple[Any, Any]:
    """States and data of all members, on a leading axis."""
    states = jax.tree_util.tree_map(lambda *leaves: jnp.stack(leaves), *(member.state for member in members))
    feeds = [member.feed.resident or {} for member in members]
    return program.put(states), program.put_data({name: np.stack([feed[name] for feed in feeds]) for name in feeds[0]})


def _compiled(
    programs: dict[Phases, Program], place: Callable[[Program], tuple[Any, Any]]
) -> tuple[dict[Phases, Program], float]:
    """The same programs, compiled ahead, and the seconds that it took."""
    began, out = time.monotonic(), {}
    for phases, program in programs.items():
        run: Any = program.run
        out[phases] = dataclasses.replace(program, run=run.lower(*place(program)).compile())
    return out, time.monotonic() - began


def _first(finite: np.ndarray, names: list[str]) -> str:
    return names[int(np.argwhere(~finite)[0][1])]


def _pick(tree: Any, i: int) -> Any:
    return jax.tree_util.tree_map(lambda leaf: leaf[i], tree)


def _without_key(state: Any) -> Any:
    """Keys do not go to the host as arrays."""
    return dataclasses.replace(state, key=jax.random.key_data(state.key))


class _Clock:
    """Seconds since it was made, without its pauses."""

    def __init__(self) -> None:
        self.began, self.away = time.monotonic(), 0.0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began - self.away

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        now = time.monotonic()
        try:
            yield
        finally:
            self.away += time.monotonic() - now


WAYS: dict[WayName, Callable[..., Trained]] = {"serial": train_serial, "population": train_population}


def choose_way() -> WayName:
    """What is fastest on this platform, as `benchmarks/population.py` measures it."""
    return "population"
