"""Metric rows follow the checkpoint: what a resumed run will write again is cut first."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gan_jax.train.checkpoint_format import CheckpointError


def append_row(path: str | Path, row: Mapping[str, Any]) -> None:
    """Appends one JSON object, on disk when this returns; a value that is not finite becomes null."""
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(json.dumps(finite, allow_nan=False) + "\n")


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """All whole rows of a JSONL file; none where it is absent."""
    path = Path(path)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line] if path.exists() else []


def cut_rows(path: str | Path, images: int) -> int:
    """Cuts a JSONL file back to a checkpoint: drops rows whose `images` is larger, and a torn last line.

    The file is replaced in one step, and only if something is cut; rows without `images` stay.

    Args:
      path: the file; it may be absent.
      images: of the state that training goes on from.

    Returns:
      How many lines were cut.

    Raises:
      CheckpointError: a line before the last is not a JSON object: a kill does not do that.
    """
    path = Path(path)
    if not path.exists():
        return 0
    data = path.read_bytes()
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    kept = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("not an object")
        except ValueError as error:
            if number == len(lines):
                continue  # torn
            raise CheckpointError(f"{path}, line {number} is not a JSON object ({error}): mend it") from error
        if row.get("images", 0) <= images:
            kept.append(line)
    new = b"".join(line + b"\n" for line in kept)
    if new != data:
        temporary = path.with_name(path.name + ".tmp")
        with temporary.open("wb") as file:
            file.write(new)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    return len(lines) - len(kept)
