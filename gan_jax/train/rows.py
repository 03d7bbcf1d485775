"""Metrics rows, one JSON object a line. A resumed run first cuts the rows after its checkpoint."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gan_jax.files import named, replace
from gan_jax.train.checkpoint.manifest import CheckpointError

Row = dict[str, Any]

NUMBERS = ("images", "seconds")  # numeric fields of every row of a run


def append_row(path: str | Path, row: Mapping[str, Any]) -> None:
    """Appends a row of numbers, strings, lists and mappings to a file, which is closed afterwards.

    Raises:
      OSError: the file cannot be written; names it.
    """
    with named(path), Path(path).open("a", encoding="utf-8") as file:
        file.write(to_line(row) + "\n")


def to_line(row: Mapping[str, Any]) -> str:
    """Writes a row as strict JSON, keys in their order; NumPy and JAX arrays become lists, scalars become numbers.

    JSON has no NaN: a number that is not finite becomes null, and its text is in `not_finite` of the same row.
    """
    not_finite: dict[str, str] = {}

    def plain(value: Any, path: str) -> Any:
        if isinstance(value, Mapping):
            return {str(k): plain(v, f"{path}.{k}" if path else str(k)) for k, v in value.items()}
        if hasattr(value, "tolist"):
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


def read_rows(path: str | Path, numbers: Sequence[str] = NUMBERS) -> list[Row]:
    """Reads all complete rows of a file, without a torn last line; none where it is absent.

    Args:
      path: the file.
      numbers: fields that are numbers wherever a row has them.

    Raises:
      CheckpointError: a line before the last is not a JSON object, or a field of `numbers` is no number; no kill causes this.
    """
    path = Path(path)
    return [row for _, row in _parse(path, path.read_bytes(), numbers)[0]] if path.exists() else []


def cut_rows(path: str | Path, images: int) -> int:
    """Cuts a file back to a checkpoint: drops rows whose `images` is larger, and a torn last line.

    The file is replaced in one step, and only if something is cut; rows without `images` stay.

    Args:
      path: the file; it may be absent.
      images: of the checkpoint.

    Returns:
      The number of lines that were cut.

    Raises:
      CheckpointError: as `read_rows`.
    """
    path = Path(path)
    if not path.exists():
        return 0
    data = path.read_bytes()
    rows, count = _parse(path, data, NUMBERS)
    remaining = [line for line, row in rows if row.get("images", 0) <= images]
    new = b"".join(line + b"\n" for line in remaining)
    if new != data:
        replace(path, lambda part: part.write_bytes(new))
    return count - len(remaining)


class Line(NamedTuple):
    """A line of a file of rows.

    Attributes:
      number: from 1.
      data: bytes of the line, without its end.
      row: its values; None where it is no JSON object.
      problem: reason for that.
      torn: whether it is the last line and has no line end: cut off while it was written, or by hand.
    """

    number: int
    data: bytes
    row: Row | None
    problem: str = ""
    torn: bool = False


def parse_lines(data: bytes) -> list[Line]:
    """Parses every line of a file of rows, damaged ones too."""
    lines = data.split(b"\n")
    end = lines.pop()
    numbered = [(line, False) for line in lines] + ([(end, True)] if end else [])
    out = []
    for number, (line, torn) in enumerate(numbered, 1):
        row, problem = None, ""
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                row, problem = None, "not an object"
        except (ValueError, RecursionError) as error:
            problem = str(error)
        out.append(Line(number, line, row, problem, torn))
    return out


def _parse(path: Path, data: bytes, numbers: Sequence[str]) -> tuple[list[tuple[bytes, Row]], int]:
    """Parses every complete line with its row, and counts all lines, a torn one too."""
    lines = parse_lines(data)
    complete = []
    for number, line, row, problem, _ in lines:
        if row is None:
            if number == len(lines):
                continue  # torn
            raise CheckpointError(
                f"{path}, line {number} is not a JSON object ({problem}): remove that line, or the file"
            )
        for name in numbers:
            if not isinstance(value := row.get(name, 0), (int, float)) or isinstance(value, bool):
                raise CheckpointError(
                    f"{path}, line {number} is damaged ({name} is {value!r:.50}, not a number): remove that line, or the file"
                )
        complete.append((line, row))
    return complete, len(lines)


def is_number(value: Any) -> bool:
    """Whether a JSON value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
