"""Limits of whole numbers in configurations: seeds, counts and sizes of networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

BITS = 64  # of a whole number; seeds use all of them
LARGEST = 2**31 - 1  # largest count or size, which are 32 bits wide on devices
SIDE = 2**13  # largest resolution of networks, px
WIDE = 2**24  # largest whole number in a network's configuration


def whole_number_problem(part: str, field: str, number: Any) -> str | None:
    """The remedy where a whole number is beyond its limit, `use at most 8192 px`; None for other values.

    Args:
      part: of the configuration, such as `net`.
      field: of the part.
      number: value of the field, or one of its values.
    """
    if isinstance(number, bool) or not isinstance(number, int):
        return None
    if field.endswith("seed"):
        return None if 0 <= number < 2**BITS else f"use a whole number from 0 to 2^{BITS} - 1"
    if part == "net":
        limit, unit = (SIDE, " px") if field == "resolution" else (WIDE, "")
        return None if abs(number) <= limit else f"use at most {limit}{unit}"
    return None if abs(number) <= LARGEST else "use a number below 2^31"


def size_problems(net: Any) -> Iterator[str]:
    """Yields a line for every size of a network beyond its limit, before an array of that size is made."""
    for field in dataclasses.fields(net):
        value = getattr(net, field.name)
        for number in value if isinstance(value, tuple) else (value,):
            if (problem := whole_number_problem("net", field.name, number)) is not None:
                yield f"{field.name} is {number}; {problem}"
