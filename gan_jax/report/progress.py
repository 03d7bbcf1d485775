"""Progress of a run: a bar in a terminal, a plain line now and then where the output goes to a file."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import IO, Any

from gan_jax.report.files import printable

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
