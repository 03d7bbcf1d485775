"""A complete run from its configuration: data, networks, transplant, training, evaluation, weights to share.

Resuming, forking, transplanting and training from scratch are separate code paths. A folder with a checkpoint is resumed
from it without reading the source; otherwise pretrained weights are filled in before optimiser and moving average exist.
Errors are found before the folder is claimed, as far as possible, and a failed start leaves no files in it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax.config import Config, ConfigError
from gan_jax.metrics import Protocol
from gan_jax.nets import Networks, Pair
from gan_jax.random_streams import RUN_KEY
from gan_jax.seeds import root_key
from gan_jax.surgery import Plan
from gan_jax.surgery.provenance import versions
from gan_jax.tasks import networks_of
from gan_jax.train.checkpoint.manager import Checkpointer, Restored, cut_rows
from gan_jax.train.checkpoint.storage import complete
from gan_jax.train.compile import choose_devices, memory_limits, use_all_cores
from gan_jax.train.feed import Feed
from gan_jax.train.fit import total_images
from gan_jax.train.processes import is_first
from gan_jax.train.state import GanState
from gan_jax.transfer.boundary import Boundary, on_sigterm, stopped_early, stopping
from gan_jax.transfer.claim import INTERRUPTS, enter, make_claim
from gan_jax.transfer.dataset import Dataset, check_data, counted, describe_data, make_feed, read_data
from gan_jax.transfer.diagnostics import Diagnosis, make_diagnosis
from gan_jax.transfer.evaluation import Evaluator, Measures
from gan_jax.transfer.folder import CHECKPOINTS, DATA, EVALUATIONS, METRICS, NOTES, write_json
from gan_jax.transfer.measuring import evaluate_model, make_measures, read_dataset
from gan_jax.transfer.method import make_trainer
from gan_jax.transfer.methods import MakeMethod, make_method
from gan_jax.transfer.preparation import Start
from gan_jax.transfer.record import (
    STAGE_IMAGES,
    Callbacks,
    Notes,
    Recorder,
    default_callbacks,
    history_at,
    prepared_images,
    read_history,
    read_prepared,
    sample_painter,
    write_history,
    write_start,
)
from gan_jax.transfer.resume import LENGTH, check_fork, copy_records, forked_state, length_command, schedule_notes
from gan_jax.transfer.start import make_prepared, make_start, plan_transfer
from gan_jax.transfer.translation import translation_painter
from gan_jax.transfer.weights import transplant_weights

__all__ = [
    "EVALUATIONS",
    "Callbacks",
    "RunResult",
    "evaluate_model",
    "on_sigterm",
    "plan_transfer",
    "run",
    "transplant_weights",
    "versions",
]


@dataclasses.dataclass(frozen=True)
class RunResult:
    """The result of a run, apart from its folder."""

    folder: Path
    state: GanState
    stopped: bool  # by a signal, after saving
    dataset: Dataset
    networks: Networks
    evaluator: Measures | None
    evaluation: dict[str, Any] | None  # of the last state, not of the best one; None where there is none
    start: Start | None  # None where the run was resumed or forked
    stopped_by: str | None = None  # `Ctrl-C` or `SIGTERM`
    record: dict[str, Any] | None = None  # of the method's preparation; None where the run was resumed or forked

    @property
    def pair(self) -> Pair:
        """The networks of a run of images from latents."""
        assert isinstance(self.networks, Pair)
        return self.networks

    @property
    def protocol(self) -> Protocol | None:
        """Protocol of the evaluation."""
        return None if self.evaluator is None else self.evaluator.protocol

    @property
    def plan(self) -> Plan | None:
        """Plan of the transplant."""
        return None if self.start is None else self.start.plan

    @property
    def prepared(self) -> dict[str, Any]:
        """The record of the method's preparation; of a resumed run, it is read from the folder.

        Raises:
          ConfigError: the file is damaged.
        """
        return read_prepared(self.folder) if self.record is None else self.record


def run(
    config: Config,
    folder: str | Path,
    callbacks: Callbacks | None = None,
    *,
    method: MakeMethod | None = None,
    at: int | None = None,
    fallback: bool = False,
    against: str | Path | None = None,
    fork: str | Path | None = None,
    quiet: bool = False,
    notes: Sequence[str] = (),
) -> RunResult:
    """Trains into a folder, or resumes the run in it.

    Before it trains, Ctrl-C and SIGTERM end it at once. Afterwards the first of them saves and returns (`stopped`), and a
    second one ends the process.

    Args:
      config: of the run; it is validated here.
      folder: of the run; created if absent. It holds one run. Several processes (`train.processes.join`) share it.
      callbacks: of the run; None = the terminal and files in the folder, as `gan-jax train`. Of several processes, only
        the first calls them.
      method: a method of your own, `(config.transfer, pair) -> Method`, in place of the table's.
      at: images of the checkpoint to go on from, newer ones are moved aside; None = the newest.
      fallback: whether to go on from an older checkpoint where the newest is damaged.
      against: folder of another run, usually from scratch, to compare evaluations with; None = as before.
      fork: folder of a run whose newest checkpoint (or `at`) this new run starts from.
      quiet: whether nothing is printed; files are the same.
      notes: log messages about the choice of this configuration.

    Raises:
      ConfigError: the folder holds a run with another configuration or other data; lists the differences.
      LockError: another process trains in this folder.
      NonFiniteError, CheckpointError, MemoryLimitError, DataError, PlanError: names the step, file or leaf.
    """
    config, folder = config.validate(), Path(folder)
    origin_of_method = "table" if method is None else f"{method.__module__}.{method.__qualname__}"
    origin = None if fork is None else Path(fork)
    with contextlib.ExitStack() as stack:
        stack.enter_context(memory_limits("this run", "lower train.batch, evaluate.n_fake or the network's width"))
        stop = stack.enter_context(stopping(_say(quiet)))
        use_all_cores()  # which starts JAX; under the handlers, since Ctrl-C inside its callbacks would be lost
        entry = enter(stack, folder, config, lambda: make_claim(config, folder, origin_of_method, against, origin, at))

        def leave() -> str:
            entry.undo(interrupted=True)
            return stopped_early(entry, folder)

        stop.leave = leave
        claim, config = entry.claim, entry.claim.config
        if not is_first():
            callbacks = Callbacks()
        elif callbacks is None:
            callbacks = default_callbacks(config, folder, quiet)
        note = Notes(folder, callbacks)
        tell = callbacks

        def say_stopped(kind: type[BaseException] | None, *_: Any) -> None:
            if kind in INTERRUPTS:
                tell.note(stopped_early(entry, folder))

        stack.push(say_stopped)
        for text in (*notes, *claim.notes):
            note(text)

        saver = _saver(config, folder, stack)
        devices = choose_devices(config.train.devices, config.train.batch)
        plain, make = networks_of(config), method or make_method
        early = (
            None if config.transfer.images is None else make(config.transfer, plain)
        )  # a wrong option is reported before data are read
        dataset = read_dataset(config)
        for text in (*dataset.notes, *_unused_devices(config, len(devices))):
            note(text)
        transfer = early or make(counted(config.transfer, len(dataset.train)), plain)
        networks, feed = transfer.wrap(plain), make_feed(config, dataset)
        trainer = make_trainer(config, transfer, feed)
        evaluator, paint, diagnosis = _measuring(config, networks, dataset, claim.against)
        for text in () if evaluator is None else evaluator.notes:
            note(text)
        programs = trainer.compile()
        key = jax.random.fold_in(root_key(config.train.seed), RUN_KEY)
        recorded, now = read_data(folder), describe_data(dataset, config)
        if recorded is not None and saver is not None and saver.latest() is not None:
            check_data(folder, recorded, now, evaluator is not None)
        history, record = read_history(folder), None  # of a run in this folder

        def begin(nets: Any, constants: Any = None) -> GanState:
            return trainer.init(nets, key, transfer.constants(nets) if constants is None else constants)

        def claim_folder(images: int) -> None:
            """Claims the folder, when all checks are done."""
            if is_first():
                claim.write(folder, images, len(devices))
                write_json(folder / DATA, now)

        start: Start | None = None
        specs = trainer.specs()
        restored = _resume(
            saver, feed, folder, lambda: jax.eval_shape(begin, specs), note, None if fork else at, fallback
        )
        if restored is not None:
            state = restored.state
            if restored.images >= total_images(config):
                note(f"run {folder} is finished; to make it longer: {length_command(folder, config)}")
            if any(line.startswith(LENGTH) for line in claim.changed):
                for text in schedule_notes(config, restored.images):
                    note(text)
            claim_folder(restored.images)
        elif claim.origin is not None:
            check_fork(claim.origin, config, total_images(config))
            state, history, forked = forked_state(
                claim.origin, begin, specs, feed, claim.origin.keeps(config, origin_of_method)
            )
            claim_folder(claim.origin.images)
            if is_first():
                copy_records(claim.origin, folder)
                write_history(folder, history)
            note.images = claim.origin.images
            for text in (*forked, *schedule_notes(config, claim.origin.images, claim.origin.config)):
                note(text)
            if saver is not None:  # so that the run goes on even without the other one
                cursor = feed.cursor() if feed.cursor else None
                saver.save(claim.origin.images, state, cursor=cursor, history=history)
        else:
            start = make_start(config, plain, transfer)
            claim_folder(0)
            prepared = make_prepared(trainer, start, transfer, key, entry.watching(callbacks.stage))
            state = jax.jit(begin)(prepared.nets, prepared.constants)
            state = state.replace(images=state.images + prepared.images)
            for text in prepared.notes:
                note(text)
            record = prepared.record | ({STAGE_IMAGES: prepared.images} if prepared.images else {})
            history = list(start.history if prepared.history is None else prepared.history)
            if start.plan is not None and is_first():
                write_start(folder, start.plan, record)
                write_history(folder, history)
            # Stages are long: their result must not be lost while XLA compiles.
            if saver is not None and prepared.images:
                cursor = feed.cursor() if feed.cursor else None
                steps = history_at(history, config, prepared.images, transfer.frozen)
                saver.save(prepared.images, state, cursor=cursor, history=steps)
                saver.wait()
                entry.checkpoint = prepared.images
        recorder = Recorder(config, folder, callbacks, note, evaluator, paint, diagnosis, history)
        if restored is not None and saver is not None and config.checkpoint.keep_best:
            recorder.forget_scores(saver)
        resumed = restored is not None and restored.images != prepared_images(folder)
        boundary = Boundary(config, folder, entry, stop, saver, feed, recorder, transfer, resumed)
        callbacks.begin(config, int(state.images))
        try:
            state, stopped = trainer.fit(state, boundary.hooks(), programs)
            if saver:
                saver.wait()
        finally:
            callbacks.end()
        note.open()
        callbacks.done(recorder.evaluations)
        evaluation = recorder.at(int(state.images))
        by = stop.by if stopped else None
        return RunResult(folder, state, stopped, dataset, networks, evaluator, evaluation, start, by, record)


def claim(config: Config, folder: Path, method: str = "table") -> None:
    """Writes `config.json` (configuration, origin of the method, versions, device), or checks that the file is of this run.

    Raises:
      ConfigError: the file is of another run; lists the differences.
    """
    make_claim(config, folder, method).write(folder, 0, len(choose_devices(config.train.devices, config.train.batch)))


def _measuring(
    config: Config, networks: Networks, dataset: Dataset, against: str | Path | None
) -> tuple[Measures | None, Callable[[GanState], np.ndarray], Diagnosis | None]:
    """What measures a run's states, makes its grids, and looks for failures of its training."""
    if config.net.translates and against is not None:
        raise ConfigError(f"--against {against} compares images from latents; leave it out for translation")
    evaluator = make_measures(config, networks, dataset)
    if config.net.translates:
        return evaluator, translation_painter(networks, dataset), None
    assert isinstance(networks, Pair) and (evaluator is None or isinstance(evaluator, Evaluator))
    return evaluator, sample_painter(config, networks), make_diagnosis(config, dataset, evaluator, against)


def _say(quiet: bool) -> Any:
    """Makes a function that prints a message from any thread, also while Python's own streams are in use."""
    return (lambda text: None) if quiet else (lambda text: os.write(2, f"\n{text}\n".encode()))


def _unused_devices(config: Config, used: int) -> list[str]:
    """A log message where devices are left unused without an option that says so."""
    count = jax.device_count()
    if config.train.devices is not None or used == count:
        return []
    usage = "one of them is used" if used == 1 else f"{used} of them are used"
    return [
        f"train.batch {config.train.batch} does not divide over {count} devices: {usage}; a multiple of {count} uses all"
    ]


def _saver(config: Config, folder: Path, stack: contextlib.ExitStack) -> Checkpointer | None:
    """Opens the checkpoints where the run writes any or the folder holds some; None otherwise."""
    keep, path = config.checkpoint, folder / CHECKPOINTS
    if keep.every_kimg is None and not complete(path):
        return None
    return stack.enter_context(Checkpointer(path, keep_last=keep.keep_last, keep_best=keep.keep_best))


def _resume(
    saver: Checkpointer | None,
    feed: Feed,
    folder: Path,
    template: Any,
    note: Notes,
    at: int | None,
    fallback: bool,
) -> Restored | None:
    """Restores the newest complete checkpoint, or that of `at` images, with cursor and metrics rows; None without any."""
    images, restored = 0, None
    if at is not None and (saver is None or saver.latest() is None):
        raise ConfigError(f"{folder} has no checkpoint to go on from at {at} images")
    for name in saver.unfinished() if saver else ():
        note(f"ignored an unfinished save: {name}")
    if saver and saver.latest() is not None:
        restored = saver.restore(template(), images=at, fallback=fallback)
        images = note.images = restored.images
        if feed.restore is not None and restored.cursor is not None:
            feed.restore(restored.cursor)
        for text in (f"resumed at {images} images", *restored.notes):
            note(text)
    for name in (METRICS, EVALUATIONS, NOTES) if is_first() else ():
        cut_rows(folder / name, images)
    return restored
