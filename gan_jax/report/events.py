"""Metrics as files: JSON lines, and TensorBoard events where a writer is installed."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.report.files import write_atomically

Row = dict[str, Any]


class JsonlWriter:
    """Appends one JSON object per row; each row is on its way to the disk when `write` returns.

    JSON has no NaN: a number that is not finite is written as null, and `not_finite` in the same row says what it was.
    A last line that a killed process left unfinished is dropped when the file is opened.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _drop_torn_line(self.path)
        self._file = open(self.path, "a", encoding="utf-8")

    def write(self, row: Mapping[str, Any]) -> None:
        """Appends a row of numbers, strings, lists and dicts; arrays of one value count as numbers."""
        self._file.write(to_json(row) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> JsonlWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def to_json(row: Mapping[str, Any]) -> str:
    """A row as one line of strict JSON, keys in their order."""
    not_finite: dict[str, str] = {}

    def plain(value: Any, path: str) -> Any:
        if isinstance(value, Mapping):
            return {str(k): plain(v, f"{path}.{k}" if path else str(k)) for k, v in value.items()}
        if hasattr(value, "tolist"):  # NumPy and JAX arrays and scalars
            value = value.tolist()
        if isinstance(value, (list, tuple)):
            return [plain(v, f"{path}[{i}]") for i, v in enumerate(value)]
        if isinstance(value, float) and not math.isfinite(value):
            not_finite[path] = str(value)
            return None
        return value

    out = plain(row, "")
    if not_finite:
        out["not_finite"] = not_finite
    return json.dumps(out, allow_nan=False)


def read_jsonl(path: str | os.PathLike[str]) -> list[Row]:
    """All rows of a file; an unfinished last line is left out, any other bad line is an error naming it."""
    lines = Path(path).read_bytes().split(b"\n")
    rows = []
    for i, line in enumerate(lines[:-1]):  # what follows the last newline is unfinished, or nothing
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {i + 1} is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {i + 1} is not a JSON object")
        rows.append(row)
    return rows


def cut_jsonl(path: str | os.PathLike[str], images: int) -> int:
    """Drops the rows past an image count (those that a resumed run will write again); returns how many went."""
    if not Path(path).exists():
        return 0
    rows = read_jsonl(path)
    kept = [row for row in rows if row.get("images", 0) <= images]
    if len(kept) < len(rows):
        write_atomically(path, "".join(json.dumps(row) + "\n" for row in kept).encode())
    return len(rows) - len(kept)


def _drop_torn_line(path: Path) -> None:
    if not path.exists():
        return
    with open(path, "rb+") as file:
        content = file.read()
        if content and not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)


class EventWriter:
    """TensorBoard scalars and images over images seen. Without tensorboardX it does nothing, having said so once.

    Args:
      folder: where the event file goes; made when something is first written.
      purge_images: a resumed run's image count: TensorBoard hides what an earlier file has past it. None = a fresh run.
      note: what to call with the one sentence about a missing writer.
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
        """Writes each number at an image count; what is not a number is passed over."""
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
