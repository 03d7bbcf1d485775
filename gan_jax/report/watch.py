"""Callbacks that show a run: a bar, a line for each evaluation, their table, event files, grids."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.config import Config
from gan_jax.report.events import EventWriter
from gan_jax.report.files import printable
from gan_jax.report.grids import make_grid, readable_scale, write_png
from gan_jax.report.progress import Progress, clock_text
from gan_jax.train.fit import total_images
from gan_jax.transfer.callbacks import Callbacks

SHOWN = {"fd": "FD", "kid": "KID", "precision": "precision", "recall": "recall"}  # of an evaluation, in this order
INSTEAD = {"is": "IS", "d_train": "D(train)", "d_fake": "D(G)"}  # where none of those could be measured
DECIMALS = {"fd": 2, "kid": 4, "is": 2} | dict.fromkeys(("precision", "recall", "d_train", "d_fake"), 3)
PROTOCOL = re.compile(r"(.+)-r(\d+)-f(\d+)-[0-9a-f]{8}")  # a protocol's id: feature network, real and generated images


class Watch(Callbacks):
    """Writes progress and messages to stderr, the table of evaluations to stdout, TensorBoard events and grids to files.

    Args:
      config: of the run.
      folder: of the run.
      label: title of the bar.
      quiet: prints nothing; files are still written.
    """

    def __init__(self, config: Config, folder: Path, label: str = "train", *, quiet: bool = False):
        self.config, self.folder, self.label, self.quiet = config, folder, label, quiet
        self.bar: Progress | None = None
        self.events: EventWriter | None = None
        self._stage: tuple[str, Progress] | None = None

    def begin(self, config: Config, images: int) -> None:
        self._end_stage()
        if not self.quiet and images < (total := total_images(config)):
            self.bar = Progress(total, self.label, start_images=images).__enter__()
        if config.log.tensorboard:
            self.events = EventWriter(self.folder / "tensorboard", purge_images=images or None, note=self.note)

    def note(self, text: str) -> None:
        self._end_stage()
        self._say(text)

    def stage(self, name: str, images: int, total: int, metrics: dict[str, Any]) -> None:
        if self.quiet:
            return
        if self._stage is None or self._stage[0] != name or images < self._stage[1].images:
            self._end_stage()
            self._say(f"{name}: {total:,} images, compiling")
            self._stage = name, Progress(total, name).__enter__()
        if images:
            telling = [name for name in metrics if name.startswith(("loss", "share")) and "/" not in name]
            self._stage[1].update(images, {name: metrics[name] for name in telling[:6]})

    def compiling(self) -> None:
        if self.bar:
            self.bar.say(f"{self.label}: compiling")
            self.bar.pause("compiling")

    def compiled(self, seconds: float) -> None:
        if self.bar:
            self.bar.proceed()
            self.bar.say(f"{self.label}: compiled in {seconds:.0f} s")

    def row(self, row: dict[str, Any]) -> None:
        numbers = {k: v for k, v in row.items() if k != "images"}
        if self.bar:
            self.bar.update(row["images"], {k: row[k] for k in ("loss_d", "loss_g") if k in row})
        if self.events:
            self.events.scalars(row["images"], numbers, "train")

    def pause(self, what: str) -> None:
        if self.bar:
            self.bar.pause(what)

    def proceed(self) -> None:
        if self.bar:
            self.bar.proceed()

    def evaluation(self, row: dict[str, Any]) -> None:
        self._say(evaluation_line(row))
        if self.events:
            numbers = {k: v for k, v in row.items() if isinstance(v, float) and k != "seconds"}
            self.events.scalars(row["images"], numbers, row["protocol"])

    def grid(self, images: int, samples: np.ndarray) -> None:
        grid = make_grid(samples, scale=readable_scale(samples))
        try:
            write_png(self.folder / "samples" / f"{images:09d}.png", grid)
        except OSError as error:  # a picture is no reason to stop
            self._say(f"no sample grid at {images:,} images ({error})")
        if self.events:
            self.events.image(images, "samples", grid)

    def end(self) -> None:
        self._end_stage()
        if self.bar:
            self.bar.__exit__(*sys.exc_info())
            self.bar = None
        if self.events:
            self.events.close()

    def done(self, evaluations: Sequence[dict[str, Any]]) -> None:
        if evaluations and not self.quiet:
            print(printable("\n".join(evaluation_lines(evaluations))), flush=True)

    def _say(self, text: str) -> None:
        if self.quiet:
            return
        if self.bar:
            self.bar.say(text)
        else:
            print(printable(text), file=sys.stderr, flush=True)

    def _end_stage(self) -> None:
        if self._stage is not None:
            self._stage[1].__exit__(*sys.exc_info())
            self._stage = None


def make_callbacks(config: Config, folder: Path, label: str = "train") -> Watch:
    """The callbacks that show a run under a title."""
    return Watch(config, folder, label)


def network_of(row: dict[str, Any]) -> str:
    """The feature network of an evaluation."""
    protocol = str(row.get("protocol", ""))
    match = PROTOCOL.fullmatch(protocol)
    return match[1] if match else protocol


def evaluation_line(row: dict[str, Any]) -> str:
    """`evaluation at 4,096 images (fashion-v1): FD 21.30, KID 0.0123, precision 0.512, recall 0.301`."""
    numbers = [f"{title} {row[name]:.{DECIMALS[name]}f}" for name, title in titles([row]).items()]
    return f"evaluation at {row['images']:,} images ({network_of(row)}): {', '.join(numbers) or 'no number could be measured'}"


def titles(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The titles of the numbers that are shown, by key: those of SHOWN, or of INSTEAD where there are none."""

    def measured(titles: dict[str, str]) -> dict[str, str]:
        return {name: title for name, title in titles.items() if any(_is_number(row.get(name)) for row in rows)}

    return measured(SHOWN) or measured(INSTEAD)


def evaluation_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """All evaluations of a run as lines of text: a heading, a line each, and what could not be measured."""
    networks = list(dict.fromkeys(network_of(row) for row in rows))
    columns = titles(rows)
    several = len(networks) > 1
    table = [["images", "time", *(["features"] if several else []), *columns.values()]]
    for row in rows:
        numbers = [f"{row[name]:.{DECIMALS[name]}f}" if _is_number(row.get(name)) else "-" for name in columns]
        features = [network_of(row)] if several else []
        table.append([f"{row['images']:,}", clock_text(row.get("seconds", 0)), *features, *numbers])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    title = "evaluations" + ("" if several else f" ({networks[0]})")
    lines = [title, *("  " + "  ".join(map(str.rjust, cells, widths)) for cells in table)]
    if any(name in INSTEAD for name in columns if name != "is"):
        lines.append("  D(..): the share of training images, and of generated ones, that D takes for real")
    if absent := [SHOWN[name] for name in SHOWN if not any(name in row for row in rows)]:
        match = PROTOCOL.fullmatch(str(rows[-1].get("protocol", "")))
        of = (
            ""
            if match is None
            else f" of {int(match[2]):,} real and {int(match[3]):,} generated images, which are too few"
        )
        lines.append(f"  not measured{of}: {', '.join(absent)}")
    return lines


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
