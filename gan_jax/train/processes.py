"""Runs of several processes, and the lock of a run folder.

`gather`, `anywhere` and `meet` wait for every process, so all must call them in one order; with one process they do nothing.
"""

from __future__ import annotations

import datetime
import errno
import json
import os
import socket
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax.config import ConfigError

# ----------------------------------------------------------------------------------------------------------------------
# A lock, one process per run folder, that the operating system releases when its owner dies.

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


# ----------------------------------------------------------------------------------------------------------------------
# Runs of several processes: how they find each other, and how they exchange values.

ADDRESS, COUNT, INDEX = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"


def join() -> None:
    """Joins this process to the others, before JAX starts; a second call does nothing.

    The others are read from the environment: JAX_COORDINATOR_ADDRESS (HOST:PORT, where process 0 listens),
    JAX_NUM_PROCESSES and JAX_PROCESS_ID; without these, JAX asks SLURM, Open MPI, Kubernetes or the TPU pod.

    Raises:
      ConfigError: only some of the three are set, or the other processes are unknown.
    """
    if jax.distributed.is_initialized():
        return
    values = {name: os.environ[name] for name in (ADDRESS, COUNT, INDEX) if os.environ.get(name)}
    if len(values) < 3 and (COUNT in values or INDEX in values):  # the address alone is an option of JAX's own
        missing = ", ".join(name for name in (ADDRESS, COUNT, INDEX) if name not in values)
        raise ConfigError(f"{', '.join(values)} set, but not {missing}; set all three, or none under SLURM or Open MPI")
    try:
        if COUNT in values:
            jax.distributed.initialize(values[ADDRESS], int(values[COUNT]), int(values[INDEX]))
        else:
            jax.distributed.initialize()
    except ValueError as error:
        raise ConfigError(
            f"the other processes are not to be found ({error}); set {ADDRESS}, {COUNT} and {INDEX}"
        ) from error


def is_first() -> bool:
    """Whether this process is the first, which writes files and prints."""
    return jax.process_index() == 0


def gather(value: Any) -> list[Any]:
    """Gathers a JSON value from every process, in their order."""
    if jax.process_count() == 1:
        return [value]
    from jax.experimental import multihost_utils

    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = np.asarray(multihost_utils.process_allgather(np.asarray(text.size, np.int32))).ravel()
    padded = np.zeros(int(sizes.max()), np.uint8)
    padded[: text.size] = text
    rows = np.asarray(multihost_utils.process_allgather(padded))
    return [json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def anywhere(flag: bool) -> bool:
    """Whether the flag is set in any process."""
    if jax.process_count() == 1:
        return flag
    from jax.experimental import multihost_utils

    return bool(np.asarray(multihost_utils.process_allgather(np.asarray(flag))).any())


def meet(name: str) -> None:
    """Waits until every process has called it."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)
