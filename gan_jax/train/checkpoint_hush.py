"""Keeps quiet what Orbax prints besides raising it: a failed save or restore is one line here, not pages."""

from __future__ import annotations

import logging
import sys
from typing import Any

_ours: list[Any] = []  # the hook that stands, once it does


def hush() -> None:
    """Filters Orbax's tracebacks from the logs, and the complaints of its abandoned reads and writes.

    When one array fails, Orbax closes its event loop under the others; each of them then finds it closed, which Python
    reports as an exception that nobody can catch. Everything else passes.
    """
    for logger in map(logging.getLogger, ("absl", "asyncio")):
        if _not_from_orbax not in logger.filters:
            logger.addFilter(_not_from_orbax)
    if not _ours:
        before = sys.unraisablehook

        def hook(event: Any) -> None:
            if not (event.object is None and str(event.exc_value) == "Event loop is closed"):
                before(event)

        _ours.append(hook)
        sys.unraisablehook = hook


def _not_from_orbax(record: logging.LogRecord) -> bool:
    return not ("orbax" in record.pathname or "orbax/checkpoint" in record.getMessage())
