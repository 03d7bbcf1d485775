"""Atomic writing: a file is either complete or not there."""

from __future__ import annotations

import os
from pathlib import Path

from gan_jax.files import printable, replace


def write_atomically(path: str | os.PathLike[str], data: bytes) -> Path:
    """Writes a temporary file and renames it to `path`, so that no reader sees half a file. Makes the folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, lambda part: part.write_bytes(data))
    return path


__all__ = ["printable", "write_atomically"]
