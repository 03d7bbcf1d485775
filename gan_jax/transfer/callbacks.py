"""Who watches a run: what they are told, and what is written down of it."""

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

WATCH = "gan_jax.report.watch"  # shows a run; loaded by name, since how things are shown is no business of this room


class Callbacks:
    """What a run tells whoever watches; every method may be overridden, none must be."""

    def begin(self, config: Config, images: int) -> None:
        """Training starts, after so many images."""

    def note(self, text: str) -> None:
        """A sentence worth reading: a resumed checkpoint, a leftover, a plan, what a diagnosis warns of."""

    def stage(self, name: str, images: int, total: int, metrics: dict[str, Any]) -> None:
        """A stage before the run proper (shares, a lesson, a probe) has shown so many of its images."""

    def compiling(self) -> None:
        """A program is being compiled."""

    def compiled(self, seconds: float) -> None:
        """It is, and its first dispatch was sent."""

    def row(self, row: dict[str, Any]) -> None:
        """Metrics of a dispatch: images, seconds, images_per_s, losses."""

    def pause(self, what: str) -> None:
        """Training stands still for something else: saving, a grid, an evaluation."""

    def proceed(self) -> None:
        """It goes on."""

    def evaluation(self, row: dict[str, Any]) -> None:
        """An evaluation: images, seconds, protocol and its metrics."""

    def grid(self, images: int, samples: np.ndarray) -> None:
        """Samples of fixed latents: uint8 `[n, H, W, C]`."""

    def end(self) -> None:
        """Training is over, however it ended."""

    def done(self, evaluations: Sequence[dict[str, Any]]) -> None:
        """The run has written all that it leaves; every evaluation of it, oldest first."""


def default_callbacks(config: Config, folder: Path, quiet: bool) -> Callbacks:
    """What a run is watched by where nobody else watches: a bar, lines, event files and grids; only files if quiet."""
    return importlib.import_module(WATCH).Watch(config, folder, "train", quiet=quiet)


class Notes:
    """Sentences of a run, shown at once and kept in `notes.jsonl` once the run has begun.

    Args:
      folder: of the run.
      callbacks: who is told.
    """

    def __init__(self, folder: Path, callbacks: Callbacks):
        self._path, self._callbacks = folder / NOTES, callbacks
        self._waiting: list[dict[str, Any]] | None = []
        self.images = 0  # that the next sentences are about

    def __call__(self, text: str) -> None:
        """Tells and keeps a sentence."""
        self._callbacks.note(text)
        row = {"images": self.images, "text": text}
        if self._waiting is None:
            self._keep([row])
        else:
            self._waiting.append(row)

    def open(self) -> None:
        """Writes down what was said before the run began, and from now on everything."""
        waiting, self._waiting = self._waiting or [], None
        self._keep(waiting)

    def _keep(self, rows: Sequence[dict[str, Any]]) -> None:
        if not rows or not is_first():
            return
        with contextlib.suppress(
            OSError, RuntimeError
        ):  # of a full disk, and of a damaged file: a note is no reason to stop
            known = [(row.get("images"), row.get("text")) for row in read_rows(self._path)]
            for row in rows:
                if (row["images"], row["text"]) not in known:  # said again by a run that was started again
                    append_row(self._path, row)


@contextlib.contextmanager
def paused(callbacks: Callbacks, what: str) -> Iterator[None]:
    """Training stands still for a while, of which whoever watches is told."""
    callbacks.pause(what)
    try:
        yield
    finally:
        callbacks.proceed()
