"""The training loop on the host: dispatch, read the metrics of the dispatch before, save and evaluate at boundaries.

The host never waits for the dispatch that it has just sent. Hooks stand for everything that this package must not import:
metrics, reports, transfer methods.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import jax
import numpy as np

from gan_jax.config import Config
from gan_jax.train.compile import Program
from gan_jax.train.feed import Feed
from gan_jax.train.state import GanState
from gan_jax.train.step import Trains, guard_names
from gan_jax.train.task import Task

Phases = tuple[str, ...]  # names of the active phases of a step


class NonFiniteError(ArithmeticError):
    """A gradient or parameter is not finite; the message names the step, the leaf and the last good checkpoint."""


@dataclasses.dataclass(frozen=True)
class Hooks:
    """The hooks of a training loop; each does nothing by default.

    Where several are due after a dispatch, the state is saved (and finished, where training ends) before it is sampled or
    measured, so that a failure there loses no training.

    Attributes:
      start: `(images, state)`, once, before the first dispatch.
      compiling: `names of the active phases -> context`, around the first dispatch of each program, which compiles it.
      begun: `()`, after the first dispatch was sent.
      row: `(images, metrics)` after each logged dispatch, on the host.
      save: `(images, state)`, on the schedule of checkpoints, and where training stops or ends.
      finish: `(images, state)` where training stops or ends, after `save`.
      grid: `(images, state)`, on the schedule of sample grids.
      evaluate: `(images, state) -> metric that keep-best compares`, or None.
      score: `(images, metric)` of a saved state, after `evaluate`.
      check: `()`, raises the failure of a save in the background; called after each dispatch.
      stop: `() -> whether to save and return early`, such as after a signal.
      last_good: `() -> text`, the last good checkpoint for the error about values that are not finite.
    """

    start: Callable[[int, GanState], None] = lambda images, state: None
    compiling: Callable[[Phases], AbstractContextManager[Any]] = lambda phases: contextlib.nullcontext()
    begun: Callable[[], None] = lambda: None
    row: Callable[[int, dict[str, float]], None] = lambda images, metrics: None
    save: Callable[[int, GanState], None] = lambda images, state: None
    finish: Callable[[int, GanState], None] = lambda images, state: None
    grid: Callable[[int, GanState], None] = lambda images, state: None
    evaluate: Callable[[int, GanState], float | None] = lambda images, state: None
    score: Callable[[int, float | None], None] = lambda images, metric: None
    check: Callable[[], None] = lambda: None
    stop: Callable[[], bool] = lambda: False
    last_good: Callable[[], str] = lambda: "no checkpoint was saved"


NO_HOOKS = Hooks()


def dispatch_images(config: Config) -> int:
    """The number of real images shown to D in one dispatch."""
    return config.train.batch * config.train.d_steps * config.train.steps_per_dispatch


def total_images(config: Config) -> int:
    """The number of real images shown to D in a run: `train.kimg` in whole dispatches, so that no second program compiles."""
    span = dispatch_images(config)
    return -(-int(round(config.train.kimg * 1000)) // span) * span


def is_due(config: Config, every_kimg: float | None, images: int) -> bool:
    """Whether the dispatch that ended after `images` images passed a multiple of `every_kimg`; None = never."""
    span = dispatch_images(config)
    return every_kimg is not None and images // (every_kimg * 1000) > (images - span) // (every_kimg * 1000)


def fit(
    config: Config,
    task: Task,
    programs: Mapping[Phases, Program],
    feed: Feed,
    trains: Trains,
    state: GanState,
    hooks: Hooks = NO_HOOKS,
) -> tuple[GanState, bool]:
    """Trains a state until `train.kimg`.

    Args:
      config: of the run.
      task: networks and phases.
      programs: a compiled loop for each set of active phases, as `Trainer.compile` gives them.
      feed: source of batches.
      trains: which leaves are trained.
      state: fresh or restored.
      hooks: of the loop.

    Returns:
      the state, and whether `hooks.stop` ended the run early (the state has been saved).

    Raises:
      NonFiniteError: before the broken state is saved.
    """
    span, train = dispatch_images(config), config.train
    total = total_images(config)
    images = int(state.images)
    # Only explicit copies from here on: an implicit one would be host work in every dispatch.
    names = {phases: guard_names(task, state, trains, phases) for phases in programs}
    program = next(iter(programs.values()))
    placed = program.put(state)
    resident = None if feed.resident is None else program.put_data(feed.resident)
    clock = time.monotonic()
    waiting: tuple[int, Phases, Any] | None = None

    def read_metrics() -> None:
        """Reads the metrics of the dispatch before: checks that values are finite, then logs the row."""
        nonlocal waiting, clock
        if waiting is None:
            return
        at, phases, metrics = waiting
        waiting = None
        host: dict[str, np.ndarray] = jax.device_get(metrics)
        finite = host.pop("finite")
        if not finite.all():
            k, leaf = np.argwhere(~finite)[0]
            step = (at - span) // (train.batch * train.d_steps) + int(k)
            raise NonFiniteError(
                f"values that are not finite in step {step} ({at} images), first in {names[phases][leaf]}; "
                f"last good checkpoint: {hooks.last_good()}. Lower optim.lr, or set optim.clip_norm"
            )
        now = time.monotonic()
        if (at // span) % config.log.every_dispatches == 0 or at >= total:
            hooks.row(at, {"images_per_s": span / max(now - clock, 1e-9), **{k: float(v) for k, v in host.items()}})
        clock = now

    due = lambda every_kimg: is_due(config, every_kimg, images)
    hooks.start(images, program.get(placed))
    clock = time.monotonic()
    compiled: set[Phases] = set()
    while images < total:
        phases = task.active(images)
        data = (
            resident
            if resident is not None
            else programs[phases].put_data(feed.stack(train.steps_per_dispatch, train.d_steps))
        )
        first = phases not in compiled
        with hooks.compiling(phases) if first else contextlib.nullcontext(), jax.transfer_guard("disallow"):
            placed, metrics = programs[phases].run(placed, data)
        if not compiled:
            hooks.begun()
        compiled.add(phases)
        images += span
        read_metrics()
        waiting = (images, phases, metrics)
        hooks.check()
        stopping, last = hooks.stop(), images >= total
        grid = last or due(config.log.grid_every_kimg)
        evaluate = last or due(config.evaluate.every_kimg)
        save = last or stopping or due(config.checkpoint.every_kimg)
        if grid or evaluate or save:
            read_metrics()  # a broken state is not worth keeping
            state = program.get(placed)
            if save:
                hooks.save(images, state)
            if last or stopping:
                hooks.finish(images, state)
            if grid:
                hooks.grid(images, state)
            if evaluate:
                hooks.score(images, hooks.evaluate(images, state))
            clock = time.monotonic()
        if stopping and not last:
            return program.get(placed), True
    return program.get(placed), False
