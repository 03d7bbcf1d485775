"""Handling of Ctrl-C and SIGTERM in a run.

Before the first dispatch, and after the result is on disk, nothing can be lost: either signal ends the run at once.
In between, the first signal asks the loop to save and return at its next boundary, and a second one ends the process.
While XLA compiles, Python runs no signal handlers; so a thread, which the signal wakes, ends a process whose main thread
does not answer.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
EXIT_CODES = {"Ctrl-C": 130, "SIGTERM": 75}  # of a process that was stopped and answered
GRACE_S = 2.0  # how long the main thread may take to answer before the process is ended without it


class Stop:
    """The request to stop a run, and how it is answered now.

    Attributes:
      by: the first signal that asked for a save, `Ctrl-C` or `SIGTERM`; None = there was none.
      at_once: whether a signal ends the run without a save: nothing would be lost.
      leave: cleans up before the process is ended without its main thread, and returns the last message.
    """

    def __init__(self, say: Callable[[str], None] = lambda text: None):
        self.by: str | None = None
        self.at_once = True
        self.leave: Callable[[], str] = lambda: "stopped"
        self._say = say
        self._over = threading.Event()
        self._arrived = 0  # signals since training began

    def requested(self) -> bool:
        """Whether the loop is to save and return."""
        return self.by is not None

    def handle(self, number: int, frame: Any = None) -> None:
        """Handles a signal in the main thread: raises where the run is to end at once."""
        name = NAMES[signal.Signals(number)]
        if self.at_once or (self.by is not None and _interactive()):
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(EXIT_CODES[name])
        self.by = self.by or name

    def watch(self, wakeups: socket.socket) -> None:
        """Reads the numbers of arriving signals until the other end is closed; in a thread of its own."""
        while data := wakeups.recv(64):
            for number in data:
                if number in list(NAMES):
                    self._answer(number)

    def _answer(self, number: int) -> None:
        name = NAMES[signal.Signals(number)]
        if self.at_once:
            if self._over.wait(GRACE_S) or _interactive():
                return
            if self.at_once:  # still: the main thread is inside XLA, or cleans up for ever
                self._say(self.leave())
                _end(EXIT_CODES[name])
        self._arrived += 1
        if self._arrived == 1:
            self._say(f"{name}: saving after this dispatch; a second one ends the run at once, without saving")
        elif not _interactive():
            self._say(f"{name} again: ended without saving")
            _end(128 + number)


@contextlib.contextmanager
def stopping(say: Callable[[str], None] = lambda text: None) -> Iterator[Stop]:
    """Context in which a `Stop` handles Ctrl-C and SIGTERM; outside the main thread no signal arrives.

    Args:
      say: prints a message; called from another thread.
    """
    stop = Stop(say)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    mine, theirs = socket.socketpair()
    theirs.setblocking(False)
    # a signal that was ignored from the start (nohup, a shell's &) stays ignored
    old = {number: handler for number in NAMES if (handler := signal.getsignal(number)) is not signal.SIG_IGN}
    before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=stop.watch, args=(mine,), name="gan_jax signals", daemon=True)
    thread.start()
    for number in old:
        signal.signal(number, stop.handle)
    try:
        yield stop
    finally:
        stop._over.set()
        for number, handler in old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        theirs.close()  # ends the thread
        thread.join()
        mine.close()


@contextlib.contextmanager
def on_sigterm() -> Iterator[threading.Event]:
    """Context with an event that SIGTERM sets: the loop saves and returns at the next boundary. A second one ends the process."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def handle(number: int, frame: Any) -> None:
        event.set()
        signal.signal(signal.SIGTERM, old)

    old = signal.signal(signal.SIGTERM, handle)
    try:
        yield event
    finally:
        signal.signal(signal.SIGTERM, old)


def _interactive() -> bool:
    """Whether the process is interactive (a prompt, a notebook), so that it must not be ended."""
    return hasattr(sys, "ps1")


def _end(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)
