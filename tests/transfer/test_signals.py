"""Ctrl-C and SIGTERM: at once where nothing can be lost, by saving where a run trains."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from gan_jax.transfer.boundary import Stop, stopping
from tests.conftest import REPO


def test_before_a_run_trains_either_ends_it_at_once():
    with pytest.raises(KeyboardInterrupt), stopping():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    with pytest.raises(SystemExit, match="75"), stopping():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_a_run_that_trains_is_asked_to_save(number, name):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    said = []
    with stopping(said.append) as stop:
        stop.at_once = False
        assert not stop.requested()
        os.kill(os.getpid(), number)
        end = time.monotonic() + 5
        while not (stop.requested() and said) and time.monotonic() < end:
            time.sleep(0.01)
        assert stop.by == name
        assert said == [f"{name}: saving after this dispatch; a second one ends the run at once, without saving"]
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


def test_once_it_is_saved_a_signal_ends_at_once_again():
    stop = Stop()
    stop.at_once = False
    stop.handle(signal.SIGINT)
    stop.at_once = True
    with pytest.raises(KeyboardInterrupt):
        stop.handle(signal.SIGINT)


BUSY = """
import hashlib, os, sys
from gan_jax.transfer import boundary
boundary.GRACE_S = 0.1
with boundary.stopping(lambda text: os.write(1, (text + chr(10)).encode())) as stop:
    stop.leave = lambda: "left"
    stop.at_once = sys.argv[1] == "starts"
    os.write(1, b"ready" + bytes([10]))
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)  # as XLA compiles: no handler runs meanwhile
"""


@pytest.fixture(autouse=True)
def _interrupts_arrive():
    """Ctrl-C ends processes here and below, also where whoever started the tests ignores it (nohup, a shell's `&`)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("phase", "signals", "code", "said"),
    [
        ("starts", [signal.SIGINT], 130, ["left"]),
        pytest.param("starts", [signal.SIGTERM], 75, ["left"], marks=pytest.mark.slow),
        ("trains", [signal.SIGINT, signal.SIGTERM], 143, ["SIGTERM again: ended without saving"]),
    ],
)
def test_a_process_whose_main_thread_does_not_answer_is_ended(phase, signals, code, said):
    process = subprocess.Popen([sys.executable, "-c", BUSY, phase], cwd=REPO, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        for number in signals:
            time.sleep(0.2)
            process.send_signal(number)
        out, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == code and out.splitlines()[-len(said) :] == said
