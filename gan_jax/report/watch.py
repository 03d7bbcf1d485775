"""Progress of a run as a person sees it: a bar, a line for each evaluation, tables, event files, grids."""

from __future__ import annotations

import os
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from gan_jax.config import Config
from gan_jax.files import printable
from gan_jax.report.grids import make_grid, readable_scale, write_png
from gan_jax.train.fit import total_images
from gan_jax.train.rows import is_number
from gan_jax.transfer.record import Callbacks

# ----------------------------------------------------------------------------------------------------------------------
# Progress of a run: a bar in a terminal, a plain line now and then where the output goes to a file.

WINDOW_S = 30.0  # speed and time left are measured over this last stretch


class Progress:
    """Shows images shown so far, images/s, time left and metrics. A context manager; call `update` after each dispatch.

    Args:
      total_images: at the end of the run.
      label: name of the run.
      start_images: at the start: a resumed run is not fast because half of it was done before.
      file: None = stderr, so that the output of a command can be piped.
      every_s: seconds between plain lines, where `file` is not a terminal.
      clock: seconds, monotonic.
    """

    def __init__(
        self,
        total_images: int,
        label: str,
        *,
        start_images: int = 0,
        file: IO[str] | None = None,
        every_s: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.total, self.label, self.images = int(total_images), printable(label), int(start_images)
        self._file, self._every_s, self._clock = file or sys.stderr, every_s, clock
        self._marks: deque[tuple[float, int]] = deque()
        self._bar: Any = None
        self._last_line_s = self._start_s = clock()
        self._start_images = int(start_images)
        self._paused_s, self._pause_s = 0.0, None
        self._tail_text = ""

    def __enter__(self) -> Progress:
        self._last_line_s = self._start_s = self._clock()
        if self._file.isatty():
            self._bar = _make_bar(self._file)
            self._bar.start()
            self._task = self._bar.add_task(self.label, total=self.total, completed=self.images, tail="")
        return self

    def pause(self, what: str) -> None:
        """Stops the clock of the speed while something else runs; the bar shows `what`."""
        if self._pause_s is None:
            self._pause_s = self._clock()
        if self._bar is not None:
            self._bar.update(self._task, tail=what)

    def proceed(self) -> None:
        """Starts the clock again after `pause`."""
        if self._pause_s is None:
            return
        self._paused_s += self._clock() - self._pause_s
        self._pause_s = None
        if self._bar is not None:
            self._bar.update(self._task, tail=self._tail_text)

    def say(self, text: str) -> None:
        """Prints a line of text above the bar."""
        if self._bar is not None:
            self._bar.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)
        else:
            print(printable(text), file=self._file, flush=True)

    def update(self, images: int, metrics: Mapping[str, Any] | None = None) -> None:
        """Reports the images shown in total, and the newest metrics (numbers; other values are skipped)."""
        clock, self.images = self._clock(), int(images)
        now = clock - self._paused_s  # counts only the time in which images were shown
        # the first mark is set after the first dispatch, so that its compilation does not count as slow training
        self._marks.append((now, self.images))
        while len(self._marks) > 2 and now - self._marks[0][0] > WINDOW_S:
            self._marks.popleft()
        self._tail_text = self._tail(metrics)
        if self._bar is not None:
            self._bar.update(self._task, completed=self.images, tail=self._tail_text)
        elif clock - self._last_line_s >= self._every_s or self.images >= self.total:
            self._last_line_s = clock
            self._print()

    @property
    def images_per_s(self) -> float | None:
        """Speed over the last half minute of training, without pauses; None before the second update."""
        if len(self._marks) < 2 or self._marks[-1][0] <= self._marks[0][0]:
            return None
        (t0, n0), (t1, n1) = self._marks[0], self._marks[-1]
        return (n1 - n0) / (t1 - t0)

    @property
    def left_s(self) -> float | None:
        """Seconds left at this speed; None while it is unknown."""
        rate = self.images_per_s
        return max(0, self.total - self.images) / rate if rate else None

    def __exit__(self, kind: object, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        if kind is None:
            images, seconds = self.images - self._start_images, self._clock() - self._start_s
            rate = f", {rate_text(images / seconds)} with compilation" if seconds > 0 else ""
            rate = rate.replace("compilation", "compilation and pauses") if self._paused_s > 0 else rate
            print(f"{self.label}: {images:,} images in {clock_text(seconds)}{rate}", file=self._file, flush=True)

    def _print(self) -> None:
        share = 100 * self.images / self.total if self.total else 100
        parts = [f"{self.label}: {self.images:,}/{self.total:,} images", f"{share:.0f} %", self._tail_text]
        print(", ".join(part for part in parts if part), file=self._file, flush=True)

    def _tail(self, metrics: Mapping[str, Any] | None) -> str:
        rate, left_s = self.images_per_s, self.left_s
        parts = [] if rate is None else [rate_text(rate)]
        parts += [] if left_s is None else [f"{clock_text(left_s)} left"]
        parts += [f"{name} {float(value):.3g}" for name, value in (metrics or {}).items() if _is_number(value)]
        return ", ".join(parts)


def clock_text(seconds: float) -> str:
    """`1:05` or `2:03:09`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def rate_text(rate: float) -> str:
    """`1,234 images/s`, and `0.49 images/s` where a whole number would say little."""
    return f"{rate:,.0f} images/s" if rate >= 9.5 or rate <= 0 else f"{rate:.2g} images/s"


def _is_number(value: Any) -> bool:
    return not isinstance(value, (str, bool)) and value is not None and getattr(value, "ndim", 0) == 0


def _make_bar(file: IO[str]) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as RichProgress

    return RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[tail]}", markup=False),
        console=Console(file=file),
        refresh_per_second=2,  # the cores are for training
    )


# ----------------------------------------------------------------------------------------------------------------------
# TensorBoard events, where tensorboardX is installed.


class EventWriter:
    """Writes TensorBoard scalars and images over images shown. Without tensorboardX it only logs one message.

    Args:
      folder: where the event file goes; made at the first write.
      purge_images: image count of a resumed run: TensorBoard hides later values of earlier files. None = a fresh run.
      note: is called with the message that tensorboardX is missing.
    """

    _noted = False  # one note per process, however many runs it has

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        purge_images: int | None = None,
        note: Callable[[str], None] | None = None,
    ):
        self._folder, self._purge, self._writer = Path(folder), purge_images, None
        self.enabled = True
        try:
            import tensorboardX  # noqa: F401
        except ImportError:
            self.enabled = False
            if not EventWriter._noted:
                EventWriter._noted = True
                say = note or (lambda text: print(text, file=sys.stderr))
                say("no TensorBoard files: tensorboardX is not installed; pip install 'gan_jax[report]' adds it")

    def scalars(self, images: int, metrics: Mapping[str, Any], prefix: str = "") -> None:
        """Writes each number at an image count; other values are skipped."""
        if not self.enabled:
            return
        for name, value in metrics.items():
            if isinstance(value, str) or value is None or np.ndim(value) != 0:
                continue
            self._open().add_scalar(f"{prefix}{name}", float(value), global_step=int(images))

    def image(self, images: int, tag: str, image: Any) -> None:
        """Writes a picture [H, W, C] uint8 at an image count."""
        if self.enabled:
            self._open().add_image(tag, np.asarray(image), global_step=int(images), dataformats="HWC")

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self) -> Any:
        if self._writer is None:
            from tensorboardX import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=self._purge)
        return self._writer

    def __enter__(self) -> EventWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# ----------------------------------------------------------------------------------------------------------------------
# The callbacks that show all of it.

SHOWN = {"fd": "FD", "kid": "KID", "precision": "precision", "recall": "recall"}  # of an evaluation, in this order
INSTEAD = {"is": "IS", "d_train": "D(train)", "d_fake": "D(G)"}  # where none of those could be measured
PAIRS = {"l1": "L1", "psnr": "PSNR", "ssim": "SSIM", "lpips": "LPIPS"}  # of translations with targets, after those
DECIMALS = {"fd": 2, "kid": 4, "is": 2} | dict.fromkeys(("precision", "recall", "d_train", "d_fake", *PAIRS), 3)
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
    """The titles of the numbers that are shown, by key: those of SHOWN, or of INSTEAD where there are none, and of PAIRS."""

    def measured(titles: dict[str, str]) -> dict[str, str]:
        return {name: title for name, title in titles.items() if any(is_number(row.get(name)) for row in rows)}

    return (measured(SHOWN) or measured(INSTEAD)) | measured(PAIRS)


def evaluation_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """All evaluations of a run as lines of text: a heading, a line each, and what could not be measured."""
    networks = list(dict.fromkeys(network_of(row) for row in rows))
    columns = titles(rows)
    several = len(networks) > 1
    table = [["images", "time", *(["features"] if several else []), *columns.values()]]
    for row in rows:
        numbers = [f"{row[name]:.{DECIMALS[name]}f}" if is_number(row.get(name)) else "-" for name in columns]
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
