"""Zip archives in memory, and the limits on what a file from elsewhere may cost."""

from __future__ import annotations

import dataclasses
import io
import re
import struct
import zipfile
import zlib
from typing import Any, NoReturn

# ----------------------------------------------------------------------------------------------------------------------
# Limits on what is built from a foreign file: how much, how deep, how large. A file beyond them is refused.

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


# ----------------------------------------------------------------------------------------------------------------------
# Zip archives in memory: nothing is extracted to disk, and no member grows beyond what was announced.

MOST_DIRECTORY_BYTES = 2 * MIB  # some 20,000 members; one read of the directory turns into many times that in memory
_LOCAL = struct.Struct("<4s5H3L2H")


class _Window(io.BytesIO):
    """The file, for `zipfile` to read its directory in: it never asks for more at once than a directory may have."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MOST_DIRECTORY_BYTES:
            raise ForeignError(f"a zip archive with a directory of {size:,} bytes; damaged, or made up")
        return super().read(size)


class Archive:
    """The members of a zip archive: `names` in the order of its directory, `read(name)`."""

    def __init__(self, data: bytes, budget: Budget) -> None:
        """Reads the directory.

        Raises:
          ForeignError: it is damaged, or has names that no file of weights has.
        """
        self.data, self.budget = memoryview(data), budget
        try:
            with zipfile.ZipFile(_Window(data)) as archive:
                infos = archive.infolist()
        except (zipfile.BadZipFile, ValueError, struct.error, NotImplementedError, OverflowError, OSError) as error:
            if isinstance(error, ForeignError):
                raise
            raise ForeignError(f"a damaged or cut zip archive ({error}): copy it again") from error
        self.members: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            name = info.orig_filename
            if info.is_dir():
                continue
            if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name):
                raise ForeignError(
                    f"a zip archive with the member {show(name)}, which leads out of its folder: made up; nothing was written"
                )
            if name in self.members or "\0" in name:
                raise ForeignError(f"a zip archive with {show(name)} twice: damaged, or made up")
            self.members[name] = info

    @property
    def names(self) -> list[str]:
        """In the order of the directory."""
        return list(self.members)

    def read(self, name: str) -> memoryview:
        """The bytes of a member: of the file's own memory where it is not compressed.

        Raises:
          ForeignError: there is no such member, it is damaged, or it grows beyond its announced size or the budget.
        """
        if name not in self.members:
            raise ForeignError(f"a zip archive without {show(name)}, which it refers to: cut, or made up")
        info = self.members[name]
        damaged = lambda why: ForeignError(f"member {show(name)} {why}: damaged, copy it again")
        head = self.data[info.header_offset : info.header_offset + _LOCAL.size]
        if len(head) < _LOCAL.size or bytes(head[:4]) != b"PK\x03\x04":
            raise damaged("is not where the directory says")
        if info.flag_bits & 0x41:
            raise ForeignError(f"member {show(name)} is encrypted; decrypt the archive first")
        *_, name_bytes, extra_bytes = _LOCAL.unpack(head)
        start = info.header_offset + _LOCAL.size + name_bytes + extra_bytes
        packed = self.data[start : start + info.compress_size]
        if len(packed) != info.compress_size:
            raise damaged("ends too early")
        if info.compress_type == zipfile.ZIP_STORED:
            self.budget.charge(info.file_size, f"member {show(name)}")  # members may overlap
            content = packed
        elif info.compress_type == zipfile.ZIP_DEFLATED:
            self.budget.charge(info.file_size, f"member {show(name)}, unpacked,")
            try:
                content = memoryview(zlib.decompressobj(-15).decompress(packed, info.file_size + 1))
            except zlib.error as error:
                raise damaged(f"cannot be unpacked ({error})") from error
        else:
            raise ForeignError(
                f"member {show(name)} is packed by method {info.compress_type}; pack it by deflate or not at all"
            )
        if len(content) != info.file_size:
            raise damaged(f"has not the {info.file_size:,} bytes that the directory says")
        if zlib.crc32(content) != info.CRC:
            raise damaged("does not have its checksum")
        return content
