"""The instructions of a pickle that push a value of their own: numbers, strings, bytes and empty containers.

Every length that an instruction declares is checked against what is left of the file before anything is allocated.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable
from typing import Any

from gan_jax.interop.foreign.limits import ForeignError, show

LONGEST_LINE = 65_536  # of the text instructions of protocol 0: names and strings, but no weights
LONGEST_INT = 255  # bytes; torch's magic number takes 10


class Cursor:
    """A place in bytes that only moves forward."""

    def __init__(self, data: memoryview, at: int = 0) -> None:
        """At the beginning of `data`, or later."""
        self.data, self.at = data, at

    def view(self, count: int) -> memoryview:
        """The next bytes, not copied."""
        left = len(self.data) - self.at
        if count < 0 or count > left:
            raise ForeignError(
                f"ends too early: {count:,} bytes are announced at byte {self.at:,} and {left:,} are left; copy it again"
            )
        self.at += count
        return self.data[self.at - count : self.at]

    def take(self, count: int) -> bytes:
        """The next bytes."""
        return bytes(self.view(count))

    def number(self, form: str) -> Any:
        """One number of a `struct` form."""
        return struct.unpack(form, self.view(struct.calcsize(form)))[0]

    def line(self) -> bytes:
        """Up to a new line, without it."""
        for longest in (256, LONGEST_LINE):  # most lines are short
            window = bytes(self.data[self.at : self.at + longest])
            if (end := window.find(b"\n")) >= 0:
                self.at += end + 1
                return window[:end]
        raise ForeignError(f"ends too early, or is no pickle: no end of the line at byte {self.at:,}")


def _counted(form: str) -> Callable[[Cursor], bytes]:
    return lambda cursor: cursor.take(cursor.number(form))


def _text(form: str) -> Callable[[Cursor], str]:
    return lambda cursor: cursor.take(cursor.number(form)).decode("utf-8", "surrogatepass")


def _latin(form: str) -> Callable[[Cursor], str]:
    """Strings of Python 2: a byte a character, which keeps the bytes of arrays."""
    return lambda cursor: cursor.take(cursor.number(form)).decode("latin1")


def _long(form: str) -> Callable[[Cursor], int]:
    def read(cursor: Cursor) -> int:
        count = cursor.number(form)
        if not 0 <= count <= LONGEST_INT:
            raise ForeignError(f"an integer of {count:,} bytes; numbers beside weights have at most {LONGEST_INT}")
        return int.from_bytes(cursor.view(count), "little", signed=True)

    return read


def _decimal(cursor: Cursor) -> int | bool:
    text = cursor.line()
    if text in (b"00", b"01"):
        return text == b"01"
    if len(text) > 2 * LONGEST_INT:
        raise ForeignError(f"an integer of {len(text):,} digits; numbers beside weights have a few")
    return int(text.removesuffix(b"L"))


def _quoted(cursor: Cursor) -> str:
    text = cursor.line().strip()
    if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in (b"'", b'"'):
        raise ForeignError(f"a string without its quotation marks, {show(text)}: damaged, copy it again")
    return codecs.escape_decode(text[1:-1])[0].decode("latin1")  # pyright: ignore[reportAttributeAccessIssue]


LITERALS: dict[int, Callable[[Cursor], Any]] = {
    ord("N"): lambda cursor: None,
    0x88: lambda cursor: True,
    0x89: lambda cursor: False,
    ord("I"): _decimal,
    ord("L"): _decimal,
    ord("J"): lambda cursor: cursor.number("<i"),
    ord("K"): lambda cursor: cursor.number("<B"),
    ord("M"): lambda cursor: cursor.number("<H"),
    0x8A: _long("<B"),
    0x8B: _long("<i"),
    ord("F"): lambda cursor: float(cursor.line()),
    ord("G"): lambda cursor: cursor.number(">d"),
    ord("S"): _quoted,
    ord("T"): _latin("<i"),
    ord("U"): _latin("<B"),
    ord("V"): lambda cursor: cursor.line().decode("raw-unicode-escape"),
    ord("X"): _text("<I"),
    0x8C: _text("<B"),
    0x8D: _text("<Q"),
    ord("B"): _counted("<I"),
    ord("C"): _counted("<B"),
    0x8E: _counted("<Q"),
    0x96: _counted("<Q"),  # a bytearray; nothing here changes it
    ord("]"): lambda cursor: [],
    ord("}"): lambda cursor: {},
    ord(")"): lambda cursor: (),
    0x8F: lambda cursor: set(),
}
