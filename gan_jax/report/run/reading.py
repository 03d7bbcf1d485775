"""Reading that does not fail: damaged parts are left out, with a sentence about each."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from gan_jax.train.checkpoint_rows import parse_lines

T = TypeVar("T")
Row = dict[str, Any]


def attempt(make: Callable[[], T], what: str, lost: list[str]) -> T | None:
    """The result of a function; where it fails None, and a sentence in `lost`: one part must not cost the page."""
    try:
        return make()
    except Exception as error:  # noqa: BLE001  whatever damage leads to
        lost.append(f"{what[:1].upper()}{what[1:]} could not be read: {one_line(error)}.")
        return None


def one_line(error: BaseException) -> str:
    """An error's words on one line, without a full stop at the end."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = f"{type(error).__name__} {text}" if isinstance(error, (KeyError, IndexError)) else text
    return (text if len(text) <= 300 else f"{text[:297]}...").rstrip(".")


def is_number(value: Any) -> bool:
    """Whether a JSON value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def folder_bytes(path: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else 0


def bytes_text(count: float) -> str:
    """`3.4 MB`."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= limit:
            return f"{count / limit:.1f} {unit}"
    return f"{count:.0f} bytes"


def _json(path: Path, lost: list[str], kind: type[T]) -> T | None:
    if not path.is_file():
        return None

    def read() -> T:
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, kind):
            raise ValueError(f"it holds a {type(value).__name__}")
        return value

    return attempt(read, path.name, lost)


def read_object(path: Path, lost: list[str]) -> dict[str, Any]:
    """A JSON file's object; empty where it is absent or damaged."""
    return _json(path, lost, dict) or {}


def read_list(path: Path, lost: list[str]) -> list[Row]:
    """A JSON file's list of objects; empty where it is absent or damaged."""
    return [step for step in _json(path, lost, list) or [] if isinstance(step, dict)]


def read_rows(path: Path, lost: list[str], text_keys: tuple[str, ...] = (), counted: bool = True) -> list[Row]:
    """The complete rows of a JSONL file, in their order; damaged ones are left out.

    Args:
      path: of the file.
      lost: gets a sentence about what was left out.
      text_keys: keys that must hold text.
      counted: whether a row must have its number of images.
    """
    if not path.is_file():
        return []
    lines = [line for line in parse_lines(attempt(path.read_bytes, path.name, lost) or b"") if line.data.strip()]
    out = [line.row for line in lines if line.row is not None and _whole(line.row, text_keys, counted)]
    damaged = [line.number for line in lines if line.row is None or not _whole(line.row, text_keys, counted)]
    if lines and lines[-1].torn and damaged[-1:] == [lines[-1].number]:
        damaged.pop()
        lost.append(f"The last row of {path.name} was cut off while it was written, and is left out.")
    if damaged:
        which = ", ".join(map(str, damaged[:5])) + (f" and {len(damaged) - 5} more" if len(damaged) > 5 else "")
        lost.append(
            f"{len(damaged)} of {len(out) + len(damaged)} rows of {path.name} {'are' if len(damaged) > 1 else 'is'} damaged "
            f"and left out (line{'s' * (len(damaged) > 1)} {which})."
        )
    return out


def _whole(row: Row, text_keys: tuple[str, ...], counted: bool) -> bool:
    return (not counted or is_number(row.get("images"))) and all(isinstance(row.get(key), str) for key in text_keys)
