"""What a person watches while a run goes on: a bar, event files, sample grids."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.config import Config
from gan_jax.report.events import EventWriter
from gan_jax.report.grids import make_grid, write_png
from gan_jax.report.progress import Progress
from gan_jax.transfer.run import Callbacks


class Watch(Callbacks):
    """A progress bar on stderr, TensorBoard events and PNG grids in the run folder."""

    def __init__(self, config: Config, folder: Path, label: str):
        self.config, self.folder, self.label = config, folder, label
        self.bar: Progress | None = None
        self.events: EventWriter | None = None

    def begin(self, config: Config, images: int) -> None:
        self.bar = Progress(int(config.train.kimg * 1000), self.label, start_images=images).__enter__()
        if config.log.tensorboard:
            self.events = EventWriter(self.folder / "tensorboard", purge_images=images or None)

    def note(self, text: str) -> None:
        print(text, file=sys.stderr)

    def row(self, row: dict[str, Any]) -> None:
        numbers = {k: v for k, v in row.items() if k != "images"}
        if self.bar:
            self.bar.update(row["images"], {k: row[k] for k in ("loss_d", "loss_g") if k in row})
        if self.events:
            self.events.scalars(row["images"], numbers, "train")

    def evaluation(self, row: dict[str, Any]) -> None:
        if self.events:
            numbers = {k: v for k, v in row.items() if isinstance(v, float) and k != "seconds"}
            self.events.scalars(row["images"], numbers, row["protocol"])

    def grid(self, images: int, samples: np.ndarray) -> None:
        grid = make_grid(samples)
        write_png(self.folder / "samples" / f"{images:09d}.png", grid)
        if self.events:
            self.events.image(images, "samples", grid)

    def end(self) -> None:
        if self.bar:
            self.bar.__exit__(None, None, None)
        if self.events:
            self.events.close()


def make_callbacks(config: Config, folder: Path, label: str = "train") -> Watch:
    """The callbacks of a run that is started from the command line."""
    return Watch(config, folder, label)
