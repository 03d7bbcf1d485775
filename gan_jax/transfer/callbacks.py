"""Callbacks of a run: what it reports while it trains, and the notes that it keeps."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.config import Config
from gan_jax.train.checkpoint_rows import append_row, read_rows
from gan_jax.train.processes import is_first
from gan_jax.transfer.folder import NOTES

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
    """Context of a pause in training, which the callbacks are told of."""
    callbacks.pause(what)
    try:
        yield
    finally:
        callbacks.proceed()
