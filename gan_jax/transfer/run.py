"""A whole run from its configuration: data, networks, transplant, training, evaluation, weights to share.

Resuming, transplanting and training afresh are three code paths: a folder with a checkpoint goes on from it and
reads nothing of the source; otherwise pretrained weights go in before the optimiser and the moving average exist.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from gan_jax.config import Config, ConfigError, differences, from_dict, to_dict
from gan_jax.metrics import Protocol
from gan_jax.nets import Pair, build
from gan_jax.surgery import Plan
from gan_jax.surgery.provenance import versions
from gan_jax.tasks.image import image_task
from gan_jax.train.checkpoint import Checkpointer, CheckpointError, Restored, cut_rows
from gan_jax.train.compile import use_all_cores
from gan_jax.train.feed import Feed
from gan_jax.train.fit import Hooks, compile_phases, fit
from gan_jax.train.lock import RunLock
from gan_jax.train.processes import anywhere, gather, is_first
from gan_jax.train.state import GanState
from gan_jax.train.steps import init_state
from gan_jax.transfer.dataset import Dataset, counted, load_dataset, make_feed
from gan_jax.transfer.diagnostics import make_diagnosis
from gan_jax.transfer.evaluation import Evaluator, evaluate_model, make_evaluator
from gan_jax.transfer.ground import Ground
from gan_jax.transfer.methods import MakeMethod, make_method
from gan_jax.transfer.record import EVALUATIONS, METRICS, Callbacks, Recorder, history_at, write_start, write_weights
from gan_jax.transfer.start import RUN_KEY, Start, make_ready, make_start, plan_transfer
from gan_jax.transfer.weights import transplant_weights

__all__ = ["Callbacks", "RunResult", "evaluate_model", "plan_transfer", "run", "transplant_weights"]

CONFIG = "config.json"


@dataclasses.dataclass(frozen=True)
class RunResult:
    """What a run left behind, beside its folder."""

    folder: Path
    state: GanState
    stopped: bool  # by SIGTERM, after saving
    dataset: Dataset
    pair: Pair
    evaluator: Evaluator | None
    evaluation: dict[str, Any] | None  # of the last state, never of the best
    start: Start | None  # None where the run was resumed

    @property
    def protocol(self) -> Protocol | None:
        """Of the evaluation."""
        return None if self.evaluator is None else self.evaluator.protocol

    @property
    def plan(self) -> Plan | None:
        """Of the transplant."""
        return None if self.start is None else self.start.plan


def run(
    config: Config,
    folder: str | Path,
    callbacks: Callbacks | None = None,
    *,
    method: MakeMethod | None = None,
    at: int | None = None,
    fallback: bool = False,
    against: str | Path | None = None,
) -> RunResult:
    """Trains into a folder, or goes on with the run that is there.

    Args:
      config: of the run; validated here.
      folder: of the run; made if absent. One run at a time. Several processes (`train.processes.join`) share it.
      callbacks: who watches; None = nobody. Of several processes, only the first is watched.
      method: a method of your own, `(config.transfer, pair) -> Method`, in place of the table's.
      at: go on from the checkpoint of so many images, and move newer ones aside; None = the newest.
      fallback: where the newest checkpoint is damaged, go on from one before it.
      against: folder of another run, usually one from scratch, that evaluations are compared with; None = none.

    Raises:
      ConfigError: the folder holds a run of another configuration; the difference is printed.
      LockError: another process trains in this folder.
      NonFiniteError, CheckpointError, DataError, PlanError: with the step, file or leaf.
    """
    config, folder, callbacks = config.validate(), Path(folder), callbacks or Callbacks()
    use_all_cores()
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        if not is_first():
            callbacks = Callbacks()
        enter(config, folder, stack, "table" if method is None else f"{method.__module__}.{method.__qualname__}")
        saver = _saver(config, folder, stack)
        bare, dataset = build(config.net), load_dataset(config)
        made = (method or make_method)(counted(config.transfer, len(dataset.train)), bare)
        pair = made.grafted(bare)
        trains = made.trains("g"), made.trains("d")
        feed = make_feed(config, dataset)
        evaluator = make_evaluator(config.evaluate, pair, dataset)
        diagnosis = make_diagnosis(config, dataset, evaluator, against)
        for note in (*dataset.notes, *(evaluator.notes if evaluator else ())):
            callbacks.note(note)
        task_of = lambda axis: image_task(made.grafted(build(config.net, axis)), config.augment)
        key = jax.random.fold_in(jax.random.key(config.train.seed), RUN_KEY)

        def begin(g: Any, d: Any, kept: Any = None) -> GanState:
            kept = made.keep(g, d) if kept is None else kept
            return init_state(task_of(None), config, key, g, d, trains, made.extension, kept)

        start: Start | None = None
        restored = _resume(
            saver, feed, folder, lambda: jax.eval_shape(begin, pair.g.specs(), pair.d.specs()), callbacks, at, fallback
        )
        if restored is None:
            start = make_start(config, bare, made)
            ready = make_ready(Ground(config, feed, key, made.grafted), start, made)
            state = jax.jit(begin)(ready.g, ready.d, ready.kept)
            state = dataclasses.replace(state, images=state.images + ready.images)
            for note in ready.notes:
                callbacks.note(note)
            if start.plan is not None and is_first():
                write_start(folder, start.plan, start.history if ready.history is None else ready.history, ready.found)
        else:
            state = restored.state
        recorder = Recorder(config, folder, callbacks, evaluator, pair, diagnosis)
        stop = stack.enter_context(on_sigterm())
        hooks = Hooks(
            row=recorder.row,
            evaluate=recorder.evaluate,
            grid=recorder.grid,
            save=lambda images, state, metric: _save(
                saver, feed, images, state, metric, history_at(folder, config, images, made.frozen)
            ),
            check=saver.check if saver else lambda: None,
            stop=lambda: anywhere(stop.is_set()),
            last_good=lambda: _last_good(saver),
        )
        callbacks.begin(config, int(state.images))
        try:
            programs = compile_phases(config, task_of, feed, trains, made.extension)
            state, stopped = fit(config, programs, feed, trains, state, hooks)
            if saver:
                saver.wait()
        finally:
            callbacks.end()
        if is_first():  # a stopped run can be sampled too
            write_weights(folder, config, state, evaluator, recorder.last, made)
        return RunResult(folder, state, stopped, dataset, pair, evaluator, recorder.last, start)


def enter(config: Config, folder: Path, stack: contextlib.ExitStack, method: str = "table") -> None:
    """Takes the folder's lock and claims it, in the first process; what that raises ends the others too.

    Raises:
      ConfigError, LockError: as `run`; ConfigError also where processes were started with different configurations.
    """
    error: Exception | None = None
    if is_first():
        try:
            stack.enter_context(RunLock(folder))
            claim(config, folder, method)
        except Exception as caught:  # noqa: BLE001  raised below, when the others know
            error = caught
    told = gather({"error": None if error is None else str(error), "config": to_dict(config)})
    if error is not None:
        raise error
    if told[0]["error"] is not None:
        raise ConfigError(told[0]["error"])
    for index, one in enumerate(told):
        if changed := differences(from_dict(Config, told[0]["config"]), from_dict(Config, one["config"])):
            raise ConfigError(
                f"processes 0 and {index} were started differently:\n" + "\n".join(f"  {x}" for x in changed)
            )


def claim(config: Config, folder: Path, method: str = "table") -> None:
    """Writes `config.json` (configuration, whose method, versions, device), or checks that the one there is the same run."""
    path = folder / CONFIG
    if path.exists():
        written = json.loads(path.read_text(encoding="utf-8"))
        changed = differences(from_dict(Config, written["config"]), config)
        if (before := written.get("method", "table")) != method:
            changed.append(f"method: {before} -> {method}")
        if changed:
            raise ConfigError(
                f"{folder} holds a run of another configuration; use another folder, or the same values:\n"
                + "\n".join(f"  {line}" for line in changed)
            )
        return
    devices = jax.devices()
    device = {"kind": devices[0].device_kind, "platform": devices[0].platform, "count": len(devices)}
    text = json.dumps({"config": to_dict(config), "method": method, "versions": versions(), "device": device}, indent=1)
    path.with_suffix(".tmp").write_text(text + "\n", encoding="utf-8")
    path.with_suffix(".tmp").replace(path)


def _saver(config: Config, folder: Path, stack: contextlib.ExitStack) -> Checkpointer | None:
    keep = config.checkpoint
    if keep.every_kimg is None:
        return None
    path = folder / "checkpoints"
    return stack.enter_context(Checkpointer(path, keep_last=keep.keep_last, keep_best=keep.keep_best))


def _resume(
    saver: Checkpointer | None,
    feed: Feed,
    folder: Path,
    template: Any,
    callbacks: Callbacks,
    at: int | None,
    fallback: bool,
) -> Restored | None:
    """The newest complete checkpoint, or the one asked for, its cursor and its rows; None where there is none."""
    images, restored = 0, None
    if at is not None and (saver is None or saver.latest() is None):
        raise ConfigError(f"{folder} has no checkpoint to go on from at {at} images")
    for name in saver.unfinished() if saver else ():
        callbacks.note(f"ignored an unfinished save: {name}")
    if saver and saver.latest() is not None:
        restored = saver.restore(template(), images=at, fallback=fallback)
        images = restored.images
        if feed.restore is not None and restored.cursor is not None:
            feed.restore(restored.cursor)
        for note in (f"resumed at {images} images", *restored.notes):
            callbacks.note(note)
    for name in (METRICS, EVALUATIONS) if is_first() else ():
        cut_rows(folder / name, images)
    return restored


def _last_good(saver: Checkpointer | None) -> str:
    if saver is None:
        return "none"
    with contextlib.suppress(CheckpointError):  # the run fails already, and of something else
        saver.wait()  # a save under way is of an earlier state, which was whole
    return "none" if saver.latest() is None else f"{saver.latest()} images"


def _save(
    saver: Checkpointer | None, feed: Feed, images: int, state: GanState, metric: float | None, history: list[Any]
) -> None:
    if saver is not None:
        cursor = feed.cursor() if feed.cursor else None
        saver.save(images, state, cursor=cursor, metric=metric, history=history)


@contextlib.contextmanager
def on_sigterm() -> Iterator[threading.Event]:
    """An event that SIGTERM sets; the loop saves and returns at the next boundary. A second one ends the process."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def handle(number: int, frame: Any) -> None:
        asked.set()
        signal.signal(signal.SIGTERM, old)

    old = signal.signal(signal.SIGTERM, handle)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, old)
