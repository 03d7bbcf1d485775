"""The file of a family of networks, found by its name in `config.NETS`."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

from gan_jax.config import NETS, NetConfig, kind_of


def part_of(config: NetConfig, part: str) -> Callable[..., Any] | None:
    """A function of the family's file, such as `layouts`; None where there is none."""
    return getattr(_file(kind_of(config)), part, None)


def families_with(part: str) -> list[str]:
    """The names of the families whose files have a function."""
    return [name for name in NETS if hasattr(_file(name), part)]


@functools.cache
def _file(name: str) -> ModuleType | None:
    where = f"gan_jax.surgery.families.{name}"
    try:
        return importlib.import_module(where)
    except ModuleNotFoundError as error:
        if error.name != where:
            raise
        return None
