"""Files of a run apart from its checkpoints, and the callbacks of a run."""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax.config import Config, ConfigError, to_dict
from gan_jax.documents import read_document
from gan_jax.files import replace
from gan_jax.interop.weights import MANIFEST
from gan_jax.nets import Pair
from gan_jax.random_streams import GRID_STATS_KEY
from gan_jax.roots import average_of
from gan_jax.seeds import root_key
from gan_jax.surgery import Plan
from gan_jax.surgery.provenance import HistoryError, Step, check_history, train_step
from gan_jax.tasks.model import WEIGHTS, save
from gan_jax.tasks.sample import STATS_BATCH, make_restatistics, make_sampler
from gan_jax.train.checkpoint.manager import Checkpointer
from gan_jax.train.processes import is_first
from gan_jax.train.rows import append_row, read_rows
from gan_jax.train.state import GanState
from gan_jax.transfer.diagnostics import Diagnosis, new_warnings
from gan_jax.transfer.evaluation import Measures
from gan_jax.transfer.folder import (
    CHECKPOINTS,
    EVALUATIONS,
    HISTORY,
    METRICS,
    NOTES,
    PLAN,
    PREPARED,
    read_json,
    task_entry,
    with_class_names,
    write_json,
)
from gan_jax.transfer.method import Method

# ----------------------------------------------------------------------------------------------------------------------
# Callbacks of a run: what it reports while it trains, and the notes that it keeps.

WATCH = "gan_jax.report.watch"  # shows a run; loaded by name, since this package does not import reports


class Callbacks:
    """Callbacks of a run; each does nothing until it is overridden."""

    def begin(self, config: Config, images: int) -> None:
        """Training starts, after so many images."""

    def note(self, text: str) -> None:
        """A message of one sentence: a resumed checkpoint, an ignored file, a plan, a warning of a diagnosis."""

    def stage(self, name: str, images: int, total: int, metrics: dict[str, Any]) -> None:
        """Progress of a stage before the main training (mixing weights, distillation, a probe), in images shown."""

    def compiling(self) -> None:
        """A program is being compiled."""

    def compiled(self, seconds: float) -> None:
        """The program is compiled, and its first dispatch was sent."""

    def row(self, row: dict[str, Any]) -> None:
        """A metrics row of a dispatch: images, seconds, images_per_s, losses."""

    def pause(self, what: str) -> None:
        """Training pauses for something else: saving, a grid, an evaluation."""

    def proceed(self) -> None:
        """Training goes on."""

    def evaluation(self, row: dict[str, Any]) -> None:
        """The metrics row of an evaluation: images, seconds, protocol and its metrics."""

    def grid(self, images: int, samples: np.ndarray) -> None:
        """Samples of fixed latents: uint8 `[n, H, W, C]`."""

    def end(self) -> None:
        """Training has ended, for whatever reason."""

    def done(self, evaluations: Sequence[dict[str, Any]]) -> None:
        """The run has written all of its files; `evaluations` are all of its rows, oldest first."""


def default_callbacks(config: Config, folder: Path, quiet: bool) -> Callbacks:
    """The callbacks of the command line: a progress bar, log messages, event files and sample grids; only files if quiet."""
    return importlib.import_module(WATCH).Watch(config, folder, "train", quiet=quiet)


class Notes:
    """Log messages of a run, shown at once and kept in `notes.jsonl` from the moment it trains.

    Args:
      folder: of the run.
      callbacks: where messages are shown.
    """

    def __init__(self, folder: Path, callbacks: Callbacks):
        self._path, self._callbacks = folder / NOTES, callbacks
        self._waiting: list[dict[str, Any]] | None = []
        self.images = 0  # images shown so far, for the next messages

    def __call__(self, text: str) -> None:
        """Shows and keeps a message."""
        self._callbacks.note(text)
        row = {"images": self.images, "text": text}
        if self._waiting is None:
            self._keep([row])
        else:
            self._waiting.append(row)

    def open(self) -> None:
        """Writes the messages from before the run began, and every later one."""
        waiting, self._waiting = self._waiting or [], None
        self._keep(waiting)

    def _keep(self, rows: Sequence[dict[str, Any]]) -> None:
        if not rows or not is_first():
            return
        with contextlib.suppress(
            OSError, RuntimeError
        ):  # a full disk or a damaged file: a message is no reason to stop
            known = [(row.get("images"), row.get("text")) for row in read_rows(self._path)]
            for row in rows:
                if (row["images"], row["text"]) not in known:  # a resumed run repeats its messages
                    append_row(self._path, row)


@contextlib.contextmanager
def paused(callbacks: Callbacks, what: str) -> Iterator[None]:
    """Context of a pause in training, of which the callbacks are notified."""
    callbacks.pause(what)
    try:
        yield
    finally:
        callbacks.proceed()


# ----------------------------------------------------------------------------------------------------------------------
# Metrics rows, evaluations, samples, and weights to share.

GRID_IMAGES = 64  # in a sample grid
STAGE_IMAGES = "stage_images"  # in `prepared.json`: real images shown by the stages before the main training


class Recorder:
    """Logger of a run: writes metrics rows and evaluations, and passes them to the callbacks.

    Args:
      config: of the run.
      folder: of the run.
      callbacks: of the run.
      note: keeps and shows log messages.
      evaluator: measures states; None = nothing is measured.
      paint: `state -> uint8 [n, H, W, C]`, images for the grid.
      diagnosis: further measurements at evaluations.
      history: of the networks before this run trained them.
    """

    def __init__(
        self,
        config: Config,
        folder: Path,
        callbacks: Callbacks,
        note: Notes,
        evaluator: Measures | None,
        paint: Callable[[GanState], np.ndarray],
        diagnosis: Diagnosis | None = None,
        history: Sequence[Step] = (),
    ):
        self.history = tuple(history)
        self.folder, self.callbacks, self.note, self.evaluator = folder, callbacks, note, evaluator
        self.diagnosis, self.limits = diagnosis, config.diagnose
        self.paint = paint
        rows = read_rows(folder / METRICS)
        self.before_s = float(rows[-1].get("seconds", 0.0)) if rows else 0.0
        self.evaluations: list[dict[str, Any]] = list(read_rows(folder / EVALUATIONS))
        self.began = time.monotonic()

    @property
    def last(self) -> dict[str, Any] | None:
        """The newest evaluation."""
        return self.evaluations[-1] if self.evaluations else None

    def seconds(self) -> float:
        """Training time of this run so far, s, over restarts."""
        return round(self.before_s + time.monotonic() - self.began, 3)

    def row(self, images: int, metrics: dict[str, float]) -> None:
        """Writes and shows the metrics row of a dispatch."""
        row = {"images": images, "seconds": self.seconds(), **metrics}
        if is_first():
            append_row(self.folder / METRICS, row)
        self.callbacks.row(row)

    def at(self, images: int) -> dict[str, Any] | None:
        """The evaluation after `images` images under this run's protocol; None = there is none."""
        if self.evaluator is None:
            return None
        key = (images, self.evaluator.protocol.id)
        return next((row for row in self.evaluations if (row["images"], row.get("protocol")) == key), None)

    def forget_scores(self, saver: Checkpointer) -> None:
        """Removes the metrics of checkpoints that were measured under another protocol, which keep-best would compare."""
        if self.evaluator is None or not is_first():
            return
        protocol = self.evaluator.protocol.id
        scores = {row["images"]: metric_of(row) for row in self.evaluations if row.get("protocol") == protocol}
        outdated = {row["images"] for row in self.evaluations} - scores.keys()
        if forgotten := saver.forget(outdated):
            self.note(
                f"evaluations are made otherwise from now on ({protocol}): the best checkpoint is one of those to "
                f"come, not of {', '.join(map(str, forgotten))} (the best until now is kept under {CHECKPOINTS})"
            )

    def evaluate(self, images: int, state: GanState) -> float | None:
        """Measures a state, writes and shows the metrics row, and returns the metric that keep-best compares.

        An exception becomes a log message, since training does not depend on it.
        """
        if self.evaluator is None:
            return None
        self.note.images, row = images, None
        with self._survived(f"the evaluation at {images:,} images failed"), paused(self.callbacks, "evaluating"):
            row = self._measure(images, state)
        if row is None:
            return None
        self.evaluations.append(row)
        if is_first():
            append_row(self.folder / EVALUATIONS, row)
        self.callbacks.evaluation(row)  # exceptions of callbacks pass: a search may end a run by one
        with self._survived(f"looking for warnings at {images:,} images failed"):
            for warning in new_warnings(self.evaluations, self.limits):
                self.note(warning.note)
        return metric_of(row)

    def _measure(self, images: int, state: GanState) -> dict[str, Any]:
        assert self.evaluator is not None
        seconds = self.seconds()
        measurement = self.evaluator.measure_averages(state.ema)
        measured = measurement.numbers
        for text in measured.notes:
            if text not in self.evaluator.notes:  # those were shown at the start
                self.note(text)
        numbers: dict[str, Any] = dict(measured)
        if self.diagnosis is not None:
            with self._survived(f"the diagnosis at {images:,} images failed"):
                numbers |= self.diagnosis.measure(
                    images, state.nets["d"], measurement.samples, measurement.features, numbers
                )
        return {"images": images, "seconds": seconds, "protocol": self.evaluator.protocol.id, **numbers}

    def grid(self, images: int, state: GanState) -> None:
        """Draws samples of fixed latents or inputs and shows them; an exception becomes a log message."""
        if not is_first():
            return
        self.note.images, samples = images, None
        with paused(self.callbacks, "drawing samples"):
            with self._survived(f"the sample grid at {images:,} images failed"):
                samples = self.paint(state)
            if samples is not None:
                self.callbacks.grid(images, samples)

    @contextlib.contextmanager
    def _survived(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001  no failure here may end the training
            text = " ".join(str(error).split())[:300]
            self.note(f"{what} ({type(error).__name__}{': ' if text else ''}{text}); training is not affected")


def sample_painter(config: Config, pair: Pair) -> Callable[[GanState], np.ndarray]:
    """Makes `state -> uint8 [n, H, W, C]`, images of fixed latents with recalibrated batch statistics."""
    key, batches = root_key(config.train.seed), config.evaluate.stats_batches
    sampler, restate = make_sampler(pair), make_restatistics(pair, STATS_BATCH)

    def paint(state: GanState) -> np.ndarray:
        g_vars = restate(state.ema["g"], jax.random.fold_in(key, GRID_STATS_KEY), batches)
        return sampler(g_vars, key, GRID_IMAGES)

    return paint


def metric_of(row: Mapping[str, Any]) -> float | None:
    """The metric that keep-best compares in an evaluation: FD, or KID where there were too few images for FD."""
    value = row.get("fd", row.get("kid"))
    return None if value is None else float(value)


def write_start(folder: Path, plan: Plan, prepared: dict[str, Any]) -> None:
    """Writes `plan.json`, and the record of the method's preparation to `prepared.json`."""
    if prepared:
        write_json(folder / PREPARED, prepared)
    replace(folder / PLAN, lambda part: part.write_text(plan.to_json(), encoding="utf-8"))


def read_prepared(folder: Path) -> dict[str, Any]:
    """Reads the record of a preparation from `prepared.json`; empty where there was none.

    Raises:
      ConfigError: it is damaged.
    """
    return read_document(folder / PREPARED, ConfigError) if (folder / PREPARED).exists() else {}


def prepared_images(folder: Path) -> int | None:
    """Images shown by the stages before the main training; None where there were none or the record is missing."""
    try:
        return read_prepared(folder).get(STAGE_IMAGES)
    except (OSError, ConfigError):  # damaged: only a figure depends on it
        return None


def write_history(folder: Path, history: Sequence[Step]) -> None:
    """Writes `history.json`, the provenance of every leaf before this run trained it."""
    write_json(folder / HISTORY, list(history))


def read_history(folder: Path) -> list[Step]:
    """Reads `history.json`; empty for a run from scratch.

    Raises:
      ConfigError: it is damaged.
    """
    path = folder / HISTORY
    if not path.exists():
        return []
    remedy = "; remove it, and the history of these weights begins with this run"
    history = read_json(path, remedy, list)
    try:
        return check_history(history, str(path))
    except HistoryError as error:
        raise ConfigError(f"{error}{remedy}") from error


def history_at(
    before: Sequence[Step],
    config: Config,
    images: int,
    frozen: Sequence[str],
    recalibrated: Sequence[str] = (),
    averages: Sequence[str] = ("g",),
) -> list[Step]:
    """The history of a run's state after `images` images: the history before the run, and a step for its training."""
    return [*before, train_step(images, to_dict(config), frozen=frozen, measured_anew=recalibrated, averages=averages)]


def write_weights(
    folder: Path,
    config: Config,
    state: GanState,
    evaluator: Measures | None,
    evaluation: dict[str, Any] | None,
    method: Method,
    before: Sequence[Step] = (),
) -> None:
    """Writes `weights/`: the plain networks, generators' averages with recalibrated batch statistics, metrics and history.

    A front of G and the names of classes are included. `before` is the history of the networks before this run.
    """
    standing = (lambda variables: variables) if evaluator is None else evaluator.standing
    ema = {name: standing(variables) for name, variables in state.ema.items()}
    measured = [f"{average_of(name)}/batch_stats/**" for name, v in ema.items() if v is not state.ema[name]]
    images = int(state.images)
    history = history_at(before, config, images, method.frozen, measured, tuple(ema))
    about = {"evaluation": evaluation, "images": images, "history": history} | method.front
    about = with_class_names(about, folder) if config.net.num_classes else about
    about |= task_entry(config)
    variables = {average_of(name): method.shared(name, v) for name, v in ema.items()}
    variables |= {name: method.shared(name, v) for name, v in state.nets.items() if name not in ema}
    save(folder / WEIGHTS, config.net, variables, about)


def write_evaluation(folder: Path, row: dict[str, Any]) -> None:
    """Adds the metrics row of an evaluation to the manifest of `weights/`."""
    path = folder / WEIGHTS / MANIFEST
    manifest = read_document(path, ConfigError)
    write_json(path, {**manifest, "evaluation": row})


__all__ = ["Callbacks", "EVALUATIONS", "METRICS", "Recorder", "history_at"]
