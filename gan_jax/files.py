"""Atomic writing of files, checks of output places, and text that is safe to print."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import shlex
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

PART = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)-[0-9a-f]{8}\.part")  # in the folder of the file that it becomes
DAY = 86_400  # seconds, after which a part is abandoned: its process number may belong to another process by now

_writing: set[Path] = set()  # parts of this process


class OutputError(ValueError):
    """An output place that cannot be written to, or holds files; the message names them and the option that allows it."""


def replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Writes a temporary part, makes sure that it is on disk, and renames it to `path`.

    Parts that killed processes left in the folder are removed.
    """
    remove_parts(path.parent)
    part = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part")
    _writing.add(part)
    try:
        part.touch()
        mode = part.stat().st_mode  # what the umask allows: safetensors makes files that only their owner reads
        write(part)
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        part.chmod(mode)
        os.replace(part, path)
    except OSError as error:
        if error.errno is not None and error.filename is None:  # of a write: the disk is full
            error.filename = str(path)
        raise
    finally:
        part.unlink(missing_ok=True)
        _writing.discard(part)


def write_atomically(path: str | os.PathLike[str], data: bytes) -> Path:
    """Writes a temporary file and renames it to `path`, so that no reader sees half a file. Makes the folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, lambda part: part.write_bytes(data))
    return path


def remove_parts(folder: Path) -> list[Path]:
    """Removes the parts that killed processes left in a folder; returns their paths."""
    removed = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = PART.fullmatch(entry.name)
            path = folder / entry.name
            if match is None or path in _writing or not entry.is_file(follow_symlinks=False):
                continue
            if _is_left(int(match["pid"]), entry.stat(follow_symlinks=False).st_mtime):
                with contextlib.suppress(OSError):
                    path.unlink()
                    removed.append(path)
    return removed


def _is_left(pid: int, changed: float) -> bool:
    """Whether the process that wrote a part is gone; a part with our number that is not ours is of a former process."""
    if pid == os.getpid() or time.time() - changed > DAY:
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        return False  # another user's
    return False


def claim_output(
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    ours: Sequence[str] | None = None,
    option: str = "--out",
    allow: str = "--overwrite",
) -> tuple[Path, ...]:
    """Checks that a file or a folder of results may be written, before any work is spent on them; writes nothing.

    A file must not exist yet, a folder must be new or empty (files whose names begin with a dot do not count), unless
    `overwrite` allows it.

    Args:
      path: the file, or the folder where `ours` is given.
      overwrite: whether the user allows to replace files.
      ours: patterns of the names that will be written into the folder; None = `path` is a file.
      option: that named the path, for the message.
      allow: the option that allows it, for the message.

    Returns:
      files in the folder that match `ours`: a caller that writes fewer files removes the rest, so that the results of
      two runs are not mixed.

    Raises:
      OutputError: the path is of another kind, lies under a file, or holds files that would be replaced or mixed.
    """
    path = Path(path)

    def refused(why: str) -> OutputError:
        return OutputError(f"{option} {printable(path, keep='')}: {why}")

    above = next((p for p in path.parents if os.path.lexists(p)), None)
    if above is not None and not above.is_dir():
        raise refused(f"{above} is a file, and nothing can be written under it; name another place")
    if not os.path.lexists(path):
        return ()
    if ours is None:
        if not path.is_file():
            raise refused("is a folder or no regular file; name a file to write")
        if not overwrite:
            raise refused(f"is there already; name another file, or allow it to be replaced with {allow}")
        return (path,)
    if not path.is_dir():
        raise refused("is a file; name a folder to write to")
    inside = sorted(p for p in path.iterdir() if not p.name.startswith("."))
    if inside and not overwrite:
        names = ", ".join(printable(p.name, keep="") for p in inside[:3]) + (", .." if len(inside) > 3 else "")
        raise refused(f"holds {names}; name a new or empty folder, or allow it to be written to with {allow}")
    return tuple(p for p in inside if p.is_file() and any(fnmatch.fnmatchcase(p.name, pattern) for pattern in ours))


def printable(text: object, keep: str = "\n\t") -> str:
    """The text without control characters, which XML and HTML forbid and a terminal would obey.

    Args:
      text: anything.
      keep: control characters that stay; "" for text on one line.
    """
    return "".join(c for c in str(text) if c.isprintable() or c in keep)


def typed(path: object) -> str:
    """A path as typed in a command: quoted where it has spaces or other characters that a shell interprets."""
    return shlex.quote(str(path))


@contextlib.contextmanager
def named(path: str | Path) -> Iterator[None]:
    """Adds the file to system errors that name none, such as writing to a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
