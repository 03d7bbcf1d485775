"""Silences the logging of Orbax about errors that it raises too: a failed save or restore is one message here."""

from __future__ import annotations

import logging
import sys
from typing import Any

_hooks: list[Any] = []  # the installed hook


def silence_orbax_logging() -> None:
    """Filters Orbax's tracebacks from the logs, and the errors of its abandoned reads and writes.

    When an array fails, Orbax closes its event loop while the others still use it; Python reports each of their errors as
    an exception that nobody can catch. All other messages pass.
    """
    for logger in map(logging.getLogger, ("absl", "asyncio")):
        if _not_from_orbax not in logger.filters:
            logger.addFilter(_not_from_orbax)
    if not _hooks:
        before = sys.unraisablehook

        def hook(event: Any) -> None:
            if not (event.object is None and str(event.exc_value) == "Event loop is closed"):
                before(event)

        _hooks.append(hook)
        sys.unraisablehook = hook


def _not_from_orbax(record: logging.LogRecord) -> bool:
    return not ("orbax" in record.pathname or "orbax/checkpoint" in record.getMessage())
