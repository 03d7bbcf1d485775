"""A file that is whole or not there."""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PART = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.part")  # the names of files that `replace` has not renamed yet


def replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Writes a file beside its place, makes sure that it is on disk, and renames it.

    Raises:
      OSError: what the disk said, with the file's name.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part")
    try:
        with named(path):
            part.touch()
            mode = part.stat().st_mode  # what the umask allows: safetensors makes files that only their owner reads
            write(part)
            with open(part, "rb+") as file:
                os.fsync(file.fileno())
            part.chmod(mode)
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def named(path: str | Path) -> Iterator[None]:
    """Lets errors of the system say which file they are of: writing to a full disk does not."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def remove_parts(folder: Path) -> None:
    """Removes what a killed `replace` left directly in a folder; only for whoever alone writes there."""
    for path in folder.glob(".*.part"):
        if PART.fullmatch(path.name):
            path.unlink(missing_ok=True)
