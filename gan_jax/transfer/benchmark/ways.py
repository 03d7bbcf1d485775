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

from gan_jax.config import Config
from gan_jax.train.compile import Program, choose_devices, compile_population
from gan_jax.train.fit import Hooks, NonFiniteError, compile_phases, dispatch_images, fit, warmup_images
from gan_jax.train.state import GanState
from gan_jax.train.steps import Phase, guard_names, make_step
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
    raw = compile_phases(game.config, game.task_of, first.feed, game.trains, game.made.extension)
    place = lambda program: (program.put(first.state), program.put_data(first.feed.resident))
    programs, compile_s = _compiled(raw, place)
    out = Trained([], {}, [], compile_s, len(choose_devices(game.config.train.devices, game.config.train.batch)))
    for i, member in enumerate(members):
        clock, losses = _Clock(), {}

        def seen(images: int, state: GanState, i: int = i, clock: _Clock = clock, losses: Any = losses) -> float:
            with clock.paused():
                evaluate(i, images, clock.seconds, jax.device_get(state.g_ema), losses)
            return 0.0

        hooks = Hooks(row=lambda _, metrics, kept=losses: kept.update(metrics), evaluate=seen, stop=stop)
        try:
            state, stopped = fit(game.config, programs, member.feed, game.trains, member.state, hooks)
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
    programs, out_s = _compiled(_population(game, members[0], devices), lambda program: _placed(program, filled))
    placed, data = _placed(programs["both"], filled)
    span = dispatch_images(config)
    total = -(-int(round(train.kimg * 1000)) // span) * span
    images, clock = int(members[0].state.images), _Clock()
    names = {phase: guard_names(members[0].state, game.trains, phase) for phase in programs}
    failures: dict[int, str] = {}
    while images < total:
        phase: Phase = "d" if images < warmup_images(config) else "both"
        placed, metrics = programs[phase].run(placed, data)
        host = jax.device_get(metrics)
        images += span
        finite = host.pop("finite")  # [members, steps, leaves]
        for i in range(len(members)):
            if i not in failures and not finite[i].all():
                failures[i] = (
                    f"values that are not finite by {images} images, first in {_first(finite[i], names[phase])}"
                )
        if stop():
            raise Stopped
        if images >= total or _due(config, images, span):
            with clock.paused():
                averages, seconds = jax.device_get(placed.g_ema), clock.seconds / len(members)
                for i in range(len(members)):
                    if i not in failures:
                        losses = {name: float(values[i]) for name, values in host.items()}
                        evaluate(i, images, seconds, _pick(averages, i), losses)
    states = jax.device_get(_without_key(placed))
    ends = [None if i in failures else _pick(states, i) for i in range(len(members))]
    return Trained(ends, failures, [clock.seconds / len(members)] * len(members), out_s, 1)


def _population(game: Game, member: Member, devices: Sequence[Any]) -> dict[Phase, Program]:
    """The programs of a population; nothing is compiled yet."""
    config, feed = game.config, member.feed

    def program(phase: Phase) -> Program:
        def make(axis_name: str | None, devices: int) -> Any:
            return make_step(
                game.task_of(axis_name), config, feed.draw, game.trains, axis_name=axis_name, devices=devices,
                phase=phase, extension=game.made.extension,
            )  # fmt: skip

        return compile_population(make, config.train.steps_per_dispatch, devices, own_data=True)

    phases: list[Phase] = ["d", "both"] if warmup_images(config) else ["both"]
    return {phase: program(phase) for phase in phases}


def _placed(program: Program, members: Sequence[Member]) -> tuple[Any, Any]:
    """States and data of all members, on a leading axis."""
    states = jax.tree_util.tree_map(lambda *leaves: jnp.stack(leaves), *(member.state for member in members))
    feeds = [member.feed.resident or {} for member in members]
    return program.put(states), program.put_data({name: np.stack([feed[name] for feed in feeds]) for name in feeds[0]})


def _compiled(
    programs: dict[Phase, Program], place: Callable[[Program], tuple[Any, Any]]
) -> tuple[dict[Phase, Program], float]:
    """The same programs, compiled ahead, and the seconds that it took."""
    began, out = time.monotonic(), {}
    for phase, program in programs.items():
        run: Any = program.run
        out[phase] = dataclasses.replace(program, run=run.lower(*place(program)).compile())
    return out, time.monotonic() - began


def _due(config: Config, images: int, span: int) -> bool:
    every = config.evaluate.every_kimg
    return every is not None and images // (every * 1000) > (images - span) // (every * 1000)


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
