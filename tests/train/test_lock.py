from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gan_jax.train.processes import LockError, RunLock
from tests.conftest import REPO

HOLDER = """
import os, sys, time
from gan_jax.train.processes import RunLock
with RunLock(sys.argv[1]):
    print("held", flush=True)
    """
FORK = "print(os.getpid(), flush=True) if not os.fork() else None; time.sleep(60)"


@contextlib.contextmanager
def holding(folder: Path, then: str = "time.sleep(60)") -> Iterator[subprocess.Popen]:
    command = [sys.executable, "-c", HOLDER + then, folder]
    with subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None and holder.stdout.readline() == "held\n"
            yield holder
        finally:
            holder.kill()


def test_a_second_process_is_told_who_holds_it(tmp_path):
    with (
        holding(tmp_path / "run") as holder,
        pytest.raises(LockError, match=f"in use by process {holder.pid} on {socket.gethostname()} since 20"),
        RunLock(tmp_path / "run"),
    ):
        pass


def test_a_killed_process_holds_nothing(tmp_path):
    with holding(tmp_path) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with RunLock(tmp_path):
            assert str(os.getpid()) in (tmp_path / ".lock").read_text()


def test_children_of_a_killed_process_hold_nothing(tmp_path):
    """A forked worker that outlives the run would otherwise keep the folder locked."""
    with holding(tmp_path, FORK) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        try:
            holder.kill()
            holder.wait()
            with RunLock(tmp_path):
                os.kill(child, 0)  # still there
        finally:
            os.kill(child, signal.SIGKILL)


def test_it_is_given_back_and_taken_again(tmp_path):
    lock = RunLock(tmp_path)
    for _ in range(2):
        with lock:
            with pytest.raises(LockError, match=rf"this very process \({os.getpid()}\)"), RunLock(tmp_path):
                pass
        assert (tmp_path / ".lock").read_text() == ""
    with holding(tmp_path, "pass") as holder:
        assert holder.wait() == 0


def test_a_holder_that_has_not_written_yet(tmp_path):
    with RunLock(tmp_path):
        (tmp_path / ".lock").write_text("")
        with pytest.raises(LockError, match="in use by another process"), RunLock(tmp_path):
            pass
