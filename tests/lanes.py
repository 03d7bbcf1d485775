"""Rows of a matrix of tests: those that run every time, and those that `make test-slow` adds."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def default_rows(rows: Iterable[Any], default: Collection[Any]) -> list[Any]:
    """Rows for `pytest.mark.parametrize`, of which all but the `default` ones are slow.

    Args:
      rows: values of one argument, or tuples of several.
      default: the rows whose question no other test in the default set asks.
    """
    rows = list(rows)
    lost = [row for row in default if row not in rows]
    if lost:
        raise ValueError(f"no such rows: {lost}")
    values = lambda row: row if isinstance(row, tuple) else (row,)
    return [row if row in default else pytest.param(*values(row), marks=pytest.mark.slow) for row in rows]
