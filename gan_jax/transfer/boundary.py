"""Work between dispatches: saving first, then sampling and measuring; and what Ctrl-C and SIGTERM do."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gan_jax.config import Config
from gan_jax.files import typed
from gan_jax.train.checkpoint.manager import Checkpointer, CheckpointError
from gan_jax.train.feed import Feed
from gan_jax.train.fit import Hooks, is_due, total_images
from gan_jax.train.processes import anywhere, is_first
from gan_jax.train.state import GanState
from gan_jax.transfer.claim import Entry
from gan_jax.transfer.folder import SAMPLES
from gan_jax.transfer.method import Method
from gan_jax.transfer.record import Recorder, history_at, metric_of, paused, write_evaluation, write_weights

# ----------------------------------------------------------------------------------------------------------------------
# Handling of Ctrl-C and SIGTERM in a run.
#
# Before the first dispatch, and after the result is on disk, nothing can be lost: either signal ends the run at once.
# In between, the first signal asks the loop to save and return at its next boundary, and a second one ends the process.
# While XLA compiles, Python runs no signal handlers; so a thread, which the signal wakes, ends a process whose main thread
# does not answer.

NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
EXIT_CODES = {"Ctrl-C": 130, "SIGTERM": 75}  # of a process that was stopped and answered
GRACE_S = 2.0  # how long the main thread may take to answer before the process is ended without it


class Stop:
    """The request to stop a run, and how it is answered now.

    Attributes:
      by: the first signal that asked for a save, `Ctrl-C` or `SIGTERM`; None = there was none.
      at_once: whether a signal ends the run without a save: nothing would be lost.
      leave: cleans up before the process is ended without its main thread, and returns the last message.
    """

    def __init__(self, say: Callable[[str], None] = lambda text: None):
        self.by: str | None = None
        self.at_once = True
        self.leave: Callable[[], str] = lambda: "stopped"
        self._say = say
        self._over = threading.Event()
        self._arrived = 0  # signals since training began

    def requested(self) -> bool:
        """Whether the loop is to save and return."""
        return self.by is not None

    def handle(self, number: int, frame: Any = None) -> None:
        """Handles a signal in the main thread: raises where the run is to end at once."""
        name = NAMES[signal.Signals(number)]
        if self.at_once or (self.by is not None and _interactive()):
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(EXIT_CODES[name])
        self.by = self.by or name

    def watch(self, wakeups: socket.socket) -> None:
        """Reads the numbers of arriving signals until the other end is closed; in a thread of its own."""
        while data := wakeups.recv(64):
            for number in data:
                if number in list(NAMES):
                    self._answer(number)

    def _answer(self, number: int) -> None:
        name = NAMES[signal.Signals(number)]
        if self.at_once:
            if self._over.wait(GRACE_S) or _interactive():
                return
            if self.at_once:  # still: the main thread is inside XLA, or cleans up for ever
                self._say(self.leave())
                _end(EXIT_CODES[name])
        self._arrived += 1
        if self._arrived == 1:
            self._say(f"{name}: saving after this dispatch; a second one ends the run at once, without saving")
        elif not _interactive():
            self._say(f"{name} again: ended without saving")
            _end(128 + number)


@contextlib.contextmanager
def stopping(say: Callable[[str], None] = lambda text: None) -> Iterator[Stop]:
    """Context in which a `Stop` handles Ctrl-C and SIGTERM; outside the main thread no signal arrives.

    Args:
      say: prints a message; called from another thread.
    """
    stop = Stop(say)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    mine, theirs = socket.socketpair()
    theirs.setblocking(False)
    # a signal that was ignored from the start (nohup, a shell's &) stays ignored
    old = {number: handler for number in NAMES if (handler := signal.getsignal(number)) is not signal.SIG_IGN}
    before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=stop.watch, args=(mine,), name="gan_jax signals", daemon=True)
    thread.start()
    for number in old:
        signal.signal(number, stop.handle)
    try:
        yield stop
    finally:
        stop._over.set()
        for number, handler in old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        theirs.close()  # ends the thread
        thread.join()
        mine.close()


@contextlib.contextmanager
def on_sigterm() -> Iterator[threading.Event]:
    """Context with an event that SIGTERM sets: the loop saves and returns at the next boundary. A second one ends the process."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def handle(number: int, frame: Any) -> None:
        event.set()
        signal.signal(signal.SIGTERM, old)

    old = signal.signal(signal.SIGTERM, handle)
    try:
        yield event
    finally:
        signal.signal(signal.SIGTERM, old)


def _interactive() -> bool:
    """Whether the process is interactive (a prompt, a notebook), so that it must not be ended."""
    return hasattr(sys, "ps1")


def _end(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)


# ----------------------------------------------------------------------------------------------------------------------
# Work between dispatches: the state is saved before it is sampled or measured, so that no failure there costs the run.


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
        """Context of a compilation, of which the callbacks are notified, with its time."""
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
            history = history_at(
                self.recorder.history, self.config, images, self.method.frozen, averages=tuple(state.ema)
            )
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
