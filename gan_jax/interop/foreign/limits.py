"""Limits on what is built from a foreign file: how much, how deep, how large. A file beyond them is refused."""

from __future__ import annotations

import dataclasses
from typing import Any, NoReturn

MIB = 2**20
CONTAINER_BYTES = 256  # of an empty one, or of an entry: what is charged for it
KEYS = (str, int, float, bool, bytes, type(None))
LONGEST_KEY = 4096  # two long keys that are equal would be compared again and again
SCALARS = (bool, int, float, complex, str, bytes, type(None))


class ForeignError(ValueError):
    """A file that is damaged, hostile or no weights file: one line that says which file, what, and what would be right."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds on what reading one file may cost. The defaults leave room for every real file that was met.

    Attributes:
      file_bytes: of the file itself; it is read into memory whole.
      opcodes: instructions of all pickles in the file; one tensor takes about 30.
      items: things found when nested containers are flattened, those that are shared counted each time.
      depth: of nesting, when flattened.
      name_chars: characters of all dotted names together.
      spare_bytes: what may be built beyond `expansion` times the file's size.
      expansion: memory over file size, of arrays and of whatever is decompressed or copied.
    """

    file_bytes: int = 16 * 1024 * MIB
    opcodes: int = 500_000
    items: int = 200_000
    depth: int = 64
    name_chars: int = 32 * MIB
    spare_bytes: int = 64 * MIB
    expansion: int = 8


class Budget:
    """What is left of the limits while one file is read."""

    def __init__(self, limits: Limits, file_bytes: int) -> None:
        """The whole of the limits, for a file of this size."""
        self.limits, self.file_bytes = limits, file_bytes
        self.opcodes = limits.opcodes
        self.items = limits.items
        self.name_chars = limits.name_chars
        self.bytes = limits.spare_bytes + limits.expansion * file_bytes

    def charge(self, count: int, what: str) -> None:
        """Takes bytes, before they are allocated."""
        self.bytes -= count
        if self.bytes < 0:
            raise ForeignError(
                f"{what} would take {count:,} bytes, and all together far more than the file's size explains; "
                "if you trust it, pass Limits(expansion=..)"
            )

    def exhausted(self) -> NoReturn:
        """Says that there were too many instructions; whoever follows them counts."""
        raise ForeignError(
            f"a pickle of more than {self.limits.opcodes:,} instructions, where weights need some 30 a tensor; "
            "if you trust it, pass Limits(opcodes=..)"
        )

    def item(self, count: int = 1, chars: int = 0) -> None:
        """Takes items, and the characters of a name."""
        self.items -= count
        self.name_chars -= chars
        if self.items < 0 or self.name_chars < 0:
            raise ForeignError(
                f"its nested containers hold more than {self.limits.items:,} items, or names of more than "
                f"{self.limits.name_chars:,} characters; if you trust it, pass Limits(items=.., name_chars=..)"
            )

    def deep(self, depth: int) -> None:
        """Checks a depth."""
        if depth > self.limits.depth:
            raise ForeignError(
                f"containers nested deeper than {self.limits.depth}, or one that holds itself; "
                "weights are dicts and lists of tensors"
            )


def show(value: Any) -> str:
    """A short, printable spelling of something that the file chose: no control characters, no new line."""
    if not isinstance(value, SCALARS):
        return f"a {type(value).__name__}"
    text = ascii(value[:60] if isinstance(value, str | bytes) else value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def checked_key(key: Any) -> Any:
    """A key whose hash takes no time and no calls: those of nested tuples can take hours."""
    if isinstance(key, int) and key.bit_length() > 63 or not isinstance(key, KEYS):
        raise ForeignError(f"a dict or set has {show(key)} as a key; keys are strings or numbers")
    if isinstance(key, str | bytes) and len(key) > LONGEST_KEY:
        raise ForeignError(f"a dict or set has a key of {len(key):,} characters; names have at most {LONGEST_KEY:,}")
    return key
