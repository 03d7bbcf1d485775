"""What a diagnosis comes to: a number, the value from which on it warns, and what to do then."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]  # of evaluations.jsonl


@dataclasses.dataclass(frozen=True)
class Check:
    """One number that was looked at.

    Attributes:
      name: of the failure that it would be.
      what: the number is.
      value: what was found.
      limit: from where on it warns.
      below: whether it warns below the limit, and not above.
      advice: a sentence with the numbers, and what to do.
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
        """The warning as a run says it."""
        return f"{self.name}: {self.advice}"
