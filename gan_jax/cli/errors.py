"""Errors for people: one readable block for what a user can change, a traceback only for bugs."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from pathlib import Path

from gan_jax.files import printable

EXIT_CODES = {
    0: "done",
    1: "an error of the program itself, with its traceback; of diff: something differs",
    2: "cannot run as asked: command line, configuration, data, weights, missing package, folder in use",
    3: "the run stopped on a problem that it found: values that are not finite, a full disk, a damaged checkpoint",
    75: "stopped by SIGTERM after saving; the same command goes on from there",
    130: "stopped by Ctrl-C",
}

_PACKAGE = Path(__file__).resolve().parent.parent


def handle(error: BaseException, *, verb: str, debug: bool) -> int:
    """Prints what went wrong to stderr and returns the exit code; raises what is no error."""
    if isinstance(error, KeyboardInterrupt):
        print(f"\ngan-jax {verb}: stopped by Ctrl-C", file=sys.stderr)
        return 130
    if isinstance(error, BrokenPipeError):  # `gan-jax inspect ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    if not isinstance(error, Exception):
        raise error
    readable = is_readable(error)
    if debug or not readable:
        traceback.print_exception(error)
        return exit_code(error) if readable else 1
    print(printable(f"gan-jax {verb}: {message(error)}"), file=sys.stderr)  # it may quote a file
    return exit_code(error)


def is_readable(error: Exception) -> bool:
    """Whether the message alone is enough: an error that this package raised on purpose, or a file's."""
    if type(error).__module__.split(".")[0] == "gan_jax":
        return True
    if isinstance(error, OSError):
        return error.filename is not None or error.errno == errno.ENOSPC
    # A plain ValueError is ours if the line that raised it is; from inside JAX it is a bug, and wants its traceback.
    return isinstance(error, (ValueError, ImportError, RuntimeError, ArithmeticError)) and _raised_here(error)


def exit_code(error: Exception) -> int:
    """2 for what a user asked wrongly, 3 for a run that found a problem on its way."""
    if isinstance(error, OSError):
        return 3 if error.errno == errno.ENOSPC else 2
    in_use = type(error).__name__ == "LockError"
    return 3 if isinstance(error, (RuntimeError, ArithmeticError)) and not in_use else 2


def message(error: Exception) -> str:
    """The error's own words, its notes below; a file's error as `No such file or directory: x`."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror and type(error).__module__ == "builtins":
        text = error.strerror + (f": {error.filename}" if error.filename is not None else "")
    return "\n".join([text or type(error).__name__, *getattr(error, "__notes__", ())])


def _raised_here(error: Exception) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(frames[-1].filename).resolve().is_relative_to(_PACKAGE)
