"""A lock, one process per run folder, that the operating system releases when its owner dies."""

from __future__ import annotations

import datetime
import errno
import json
import os
import socket
from pathlib import Path

FILE = ".lock"


class LockError(RuntimeError):
    """Another process holds the run folder; the message names the process."""


class RunLock:
    """Context manager in which this process alone owns the run folder.

    `flock` on `folder/.lock`, so a killed process leaves no lock behind (its file stays without a meaning).
    The file names the holder. Of a run of several processes, only the first takes the lock. POSIX only.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._file: int | None = None

    def __enter__(self) -> RunLock:
        """Takes the lock.

        Raises:
          LockError: another process (or this one, before) holds it.
        """
        import fcntl

        self.folder.mkdir(parents=True, exist_ok=True)
        file = os.open(self.folder / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(file, 4096, 0)
            os.close(file)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise LockError(f"run folder {self.folder} is in use by {_name(holder)}") from None
            raise LockError(
                f"run folder {self.folder} cannot be locked ({error.strerror}): keep it on a disk that knows flock"
            ) from error
        if not self._is_there(file):  # a failed start removed it between the two calls
            os.close(file)
            return self.__enter__()
        os.ftruncate(file, 0)
        now = datetime.datetime.now().isoformat(timespec="seconds")
        os.pwrite(file, json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now}).encode(), 0)
        self._file = file
        _HELD.add(file)
        return self

    def _is_there(self, file: int) -> bool:
        """Whether the lock's path still leads to the opened file."""
        try:
            return os.path.samestat(os.fstat(file), os.stat(self.folder / FILE))
        except FileNotFoundError:
            return False

    def __exit__(self, *exception: object) -> None:
        if self._file is not None and self._file in _HELD:  # false in a forked child
            # The file stays: only the holder of the lock may remove it, and others that opened it check that.
            os.ftruncate(self._file, 0)
            _HELD.remove(self._file)
            os.close(self._file)
        self._file = None


def _name(holder: bytes) -> str:
    """Names the owner, `process 12 on host x since 10:00, ...`, from its file, which may be incomplete."""
    try:
        who = json.loads(holder)
        pid, host, since = who["pid"], who["host"], who["since"]
    except (ValueError, KeyError, TypeError):
        return "another process: one process per run folder"
    if (pid, host) == (os.getpid(), socket.gethostname()):
        return f"this very process ({pid}) since {since}: it has taken this lock already"
    return f"process {pid} on {host} since {since}: one process per run folder; wait for it, or end it there"


def _forget_after_fork() -> None:
    # A forked child (a data loader's worker) shares the lock and would keep it alive after its parent was killed.
    for file in _HELD:
        os.close(file)
    _HELD.clear()


_HELD: set[int] = set()  # descriptors of the locks that this process holds
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
