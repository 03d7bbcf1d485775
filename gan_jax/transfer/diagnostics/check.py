"""A check of a diagnosis: a number, its limit, and advice."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]  # of evaluations.jsonl


@dataclasses.dataclass(frozen=True)
class Check:
    """A number that was compared with its limit.

    Attributes:
      name: of the failure that the number shows.
      what: what the number is, in words.
      value: the number.
      limit: beyond which the check warns.
      below: whether it warns below the limit, and not above.
      advice: a sentence with the numbers and what to do.
    """

    name: str
    what: str
    value: float
    limit: float
    below: bool
    advice: str

    @property
    def warns(self) -> bool:
        """Whether the value is beyond its limit."""
        return self.value < self.limit if self.below else self.value > self.limit

    @property
    def note(self) -> str:
        """The log message of the warning."""
        return f"{self.name}: {self.advice}"
