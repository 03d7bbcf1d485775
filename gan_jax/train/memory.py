"""Errors that mean too little memory, of the host or of a device."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator


class MemoryLimitError(RuntimeError):
    """There is too little memory; the message says for what, and how to need less."""


def is_memory_limit(error: BaseException | None) -> bool:
    """Whether an exception, or a cause of it, means that memory ran out (Python's, the system's, XLA's)."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
            return True
        if type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError") and "RESOURCE_EXHAUSTED" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextlib.contextmanager
def memory_limits(what: str, remedy: str) -> Iterator[None]:
    """Context that turns exceptions about exhausted memory into a `MemoryLimitError` of one sentence.

    Args:
      what: the object that did not fit.
      remedy: how to need less memory.
    """
    try:
        yield
    except MemoryLimitError:
        raise
    except Exception as error:
        if not is_memory_limit(error):
            raise
        raise MemoryLimitError(f"too little memory for {what} ({first_line(error)}): {remedy}") from error


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, at most 200 characters; its class where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
