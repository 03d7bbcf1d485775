"""Work between dispatches: the state is saved before it is sampled or measured, so that no failure there costs the run."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from gan_jax.config import Config
from gan_jax.files import typed
from gan_jax.train.checkpoint import Checkpointer, CheckpointError
from gan_jax.train.feed import Feed
from gan_jax.train.fit import Hooks, is_due, total_images
from gan_jax.train.processes import anywhere, is_first
from gan_jax.train.state import GanState
from gan_jax.transfer.callbacks import paused
from gan_jax.transfer.claim import Entry
from gan_jax.transfer.folder import SAMPLES
from gan_jax.transfer.method import Method
from gan_jax.transfer.record import Recorder, history_at, metric_of, write_evaluation, write_weights
from gan_jax.transfer.signals import Stop


class Boundary:
    """The hooks of a run's loop.

    Args:
      config: of the run.
      folder: of the run.
      entry: its way into the folder; it is marked as begun when the run trains.
      stop: signals that ask the run to stop.
      saver: writes its checkpoints; None = no checkpoints.
      feed: source of batches, whose position is saved with each checkpoint.
      recorder: writes rows, evaluations and grids.
      method: transfer method of the run.
      resumed: whether the run goes on from a checkpoint.
    """

    def __init__(
        self,
        config: Config,
        folder: Path,
        entry: Entry,
        stop: Stop,
        saver: Checkpointer | None,
        feed: Feed,
        recorder: Recorder,
        method: Method,
        resumed: bool,
    ):
        self.config, self.folder, self.entry, self.stop = config, folder, entry, stop
        self.saver, self.feed, self.recorder, self.method, self.resumed = saver, feed, recorder, method, resumed
        self.callbacks, self.note, self.total = recorder.callbacks, recorder.note, total_images(config)

    def hooks(self) -> Hooks:
        """The hooks that `train.fit` calls."""
        return Hooks(
            start=self.start,
            compiling=self.compiling,
            begun=self.begun,
            row=self.recorder.row,
            save=self.save,
            finish=self.finish,
            grid=self.recorder.grid,
            evaluate=self.evaluate,
            score=self.score,
            check=self.saver.check if self.saver else lambda: None,
            stop=lambda: anywhere(self.stop.requested()),
            last_good=self.last_good,
        )

    def start(self, images: int, state: GanState) -> None:
        """Completes the work of a killed process after its last checkpoint: weights, samples, evaluation."""
        if not self.resumed:
            return
        over = images >= self.total
        due = lambda every_kimg: over or is_due(self.config, every_kimg, images)
        if over:
            self.finish(images, state)
        if due(self.config.log.grid_every_kimg) and not (self.folder / SAMPLES / f"{images:09d}.png").exists():
            self.recorder.grid(images, state)
        if due(self.config.evaluate.every_kimg):
            row = self.recorder.at(images)
            self.score(images, self.evaluate(images, state) if row is None else metric_of(row))

    @contextlib.contextmanager
    def compiling(self, phases: tuple[str, ...]) -> Iterator[None]:
        """Context of a compilation, which the callbacks are told of, with its time."""
        self.callbacks.compiling()
        began = time.monotonic()
        yield
        self.callbacks.compiled(time.monotonic() - began)

    def begun(self) -> None:
        """Marks the run as training: from now on a signal asks for a save, and the folder stays."""
        self.entry.begun, self.stop.at_once = True, False
        self.note.open()

    def save(self, images: int, state: GanState) -> None:
        """Saves a checkpoint."""
        if self.saver is None:
            return
        with paused(self.callbacks, "saving"):
            cursor = self.feed.cursor() if self.feed.cursor else None
            history = history_at(self.recorder.history, self.config, images, self.method.frozen)
            self.saver.save(images, state, cursor=cursor, history=history)

    def finish(self, images: int, state: GanState) -> None:
        """Writes the weights before anything else is done with the state; a stopped run can be sampled too."""
        over = images >= self.total
        with paused(self.callbacks, "writing weights"):
            if self.saver:
                self.saver.wait()
            if is_first():
                evaluation = self.recorder.at(images) if over else self.recorder.last
                evaluator, before = self.recorder.evaluator, self.recorder.history
                write_weights(self.folder, self.config, state, evaluator, evaluation, self.method, before)
        if over:
            self.stop.at_once = True  # nothing can be lost any more
        else:
            self.note.images = images
            self.note(self._stop_message(images))

    def evaluate(self, images: int, state: GanState) -> float | None:
        """Measures a state, and adds the numbers to the manifest of its weights."""
        metric = self.recorder.evaluate(images, state)
        row = self.recorder.at(images)
        if row is not None and images >= self.total and is_first():
            write_evaluation(self.folder, row)
        return metric

    def score(self, images: int, metric: float | None) -> None:
        """Writes the metric of a state into its checkpoint."""
        if self.saver is not None:
            self.saver.score(images, metric)

    def last_good(self) -> str:
        """The last good checkpoint, in words."""
        if self.saver is None:
            return "none"
        with contextlib.suppress(CheckpointError):  # the run fails already, for another reason
            self.saver.wait()  # a save under way is of an earlier state, which was finite
        return "none" if self.saver.latest() is None else f"{self.saver.latest()} images"

    def _stop_message(self, images: int) -> str:
        who = f"stopped by {self.stop.by or 'another process'} at {images:,} of {self.total:,} images"
        if self.saver is None:
            return f"{who}; kept in {self.folder}: weights and metrics, but no checkpoint (checkpoint.every_kimg None)"
        return f"{who}; kept in {self.folder}: the checkpoint of {images} images, weights and metrics"


def stopped_early(entry: Entry, folder: Path) -> str:
    """The message about a run that a signal ended at once."""
    go_on = f"gan-jax train {typed(folder)} does the rest"
    if entry.begun:
        return f"stopped; what was trained is kept in {folder}, and {go_on}"
    if entry.checkpoint is not None:
        saved = f"checkpoint of {entry.checkpoint:,} images"
        return f"stopped; what the stages before the run trained is kept in {folder} ({saved}): {go_on}"
    if entry.stage is None:
        return f"stopped before training began: nothing new is left in {folder}"
    name, images, total = entry.stage
    return (
        f"stopped in a stage before the run ({name}, {images:,} of {total:,} images), which is kept only when it is over: the "
        f"same command begins it again; nothing new is left in {folder}"
    )
