"""Zip archives in memory: nothing is extracted to disk, and no member grows beyond what was announced."""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib

from gan_jax.interop.foreign.limits import MIB, Budget, ForeignError, show

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
