"""Checks of single values of a configuration, before all others: type, finite numbers and limits."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal, Union

from gan_jax.config.limits import whole_number_problem
from gan_jax.documents import shown
from gan_jax.trees import did_you_mean


def value_problems(config: Any) -> Iterator[str]:
    """Yields a line for every value with a wrong type, not finite, or beyond its limit."""
    for part in dataclasses.fields(config):
        values = getattr(config, part.name)
        if not dataclasses.is_dataclass(values) or isinstance(values, type):
            yield f"{part.name} is {_show(values)}; use one of the configurations that belong there"
            continue
        yield from part_problems(part.name, values)


def part_problems(part: str, values: Any) -> Iterator[str]:
    """The same for one part of a configuration, such as its networks."""
    hints = _hints(type(values))
    for field in dataclasses.fields(values):
        value, name = getattr(values, field.name), f"{part}.{field.name}"
        if dataclasses.is_dataclass(value):
            continue
        if (remedy := misfit(hints[field.name], value)) is not None:
            yield f"{name} is {_show(value)}; {remedy}"
            continue
        for number in value if isinstance(value, (tuple, list)) else (value,):
            infinite = isinstance(number, float) and not math.isfinite(number)
            if problem := "use a finite number" if infinite else whole_number_problem(part, field.name, number):
                yield f"{name} is {_show(value)}; {problem}"
                break


def misfit(hint: Any, value: Any) -> str | None:
    """The remedy where a value does not have the type of its field: `use a whole number`."""
    members = typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)
    if any(_fits(member, value) for member in members):
        return None
    names = [_noun(member) for member in members if member is not type(None)]
    choices = [
        str(choice) for member in members if typing.get_origin(member) is Literal for choice in typing.get_args(member)
    ]
    near = did_you_mean(value, choices) if isinstance(value, str) else ""
    return f"use {' or '.join(dict.fromkeys(names))}{' or None' if type(None) in members else ''}{near}"


def _fits(hint: Any, value: Any) -> bool:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is type(None):
        return value is None
    if origin is Literal:
        return isinstance(value, str | int) and value in args
    if origin in (tuple, list):
        if not isinstance(value, (tuple, list)):
            return False
        inner = args[:1] * len(value) if args[-1:] == (Ellipsis,) or origin is list else args
        return len(inner) == len(value) and all(
            misfit(part, item) is None for part, item in zip(inner, value, strict=True)
        )
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return not isinstance(hint, type) or isinstance(value, hint)


def _noun(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(map(str, args))}"
    if origin in (tuple, list):
        inner = args[0]
        if typing.get_origin(inner) is Literal:
            return f"a tuple out of {', '.join(map(str, typing.get_args(inner)))}"
        members = typing.get_args(inner) if typing.get_origin(inner) in (Union, types.UnionType) else (inner,)
        return f"a tuple of {' or '.join(PLURALS.get(member, str(member)) for member in members)}"
    return NOUNS.get(hint, getattr(hint, "__name__", str(hint)))


def _show(value: Any) -> str:
    return str(value) if isinstance(value, float) else shown(value)


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


NOUNS = {int: "a whole number", float: "a number", bool: "True or False", str: "text"}
PLURALS = {int: "whole numbers", float: "numbers", str: "texts", bool: "True or False"}
