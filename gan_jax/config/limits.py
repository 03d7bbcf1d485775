"""Numbers that cannot be meant: beyond what seeds, counts and sizes of networks can be."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

BITS = 64  # of a whole number; seeds use them all
LARGEST = 2**31 - 1  # of whole numbers: counts and sizes are 32 bits wide on devices
SIDE = 2**13  # largest resolution of networks, px
WIDE = 2**24  # largest whole number in a network's configuration


def whole_number_problem(part: str, field: str, number: Any) -> str | None:
    """What would be right where a whole number is beyond its limit: `use at most 8192 px`; None of other values.

    Args:
      part: of the configuration, such as `net`.
      field: of the part.
      number: its value, or one of its values.
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
    """One line for every size of a network that cannot be meant, before anything of that size is made."""
    for field in dataclasses.fields(net):
        value = getattr(net, field.name)
        for number in value if isinstance(value, tuple) else (value,):
            if (problem := whole_number_problem("net", field.name, number)) is not None:
                yield f"{field.name} is {number}; {problem}"
