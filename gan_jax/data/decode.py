"""Decoding and encoding of single image files; a file that cannot be read is an error that names it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import struct
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from gan_jax.data.deep import TooDeep, depth_of, read_deep
from gan_jax.data.formats import HEAD_BYTES, TAIL_BYTES, picture_not_read, sniff, what_else
from gan_jax.data.images import DataError
from gan_jax.data.limits import MAX_FILE_BYTES
from gan_jax.extras import require

MAX_PIXELS = 1 << 26  # a larger picture is refused before it is unpacked; training sets hold nothing near it

TOO_LARGE = f"is larger than {MAX_FILE_BYTES} bytes, the most that is read of one file"
_WITH_ALPHA = ("RGBA", "RGBa", "LA", "La", "PA")
_GREY = ("1", "L", "LA", "La", "I", "F")
_ORIENTATION = 0x0112
_DNG, _SUBFILE = 50706, 254  # TIFF tags: of a raw file, and of a page that is only a preview


class BadImage(DataError):
    """One file that cannot be read; the message is `WHERE REASON`, as `a.png is empty`."""

    def __init__(self, where: str, reason: str):
        super().__init__(f"{where} {reason}")
        self.reason = reason


@dataclasses.dataclass(frozen=True)
class Facts:
    """The facts of an image file: those in its header, and more once it is decoded."""

    width: int  # px, as the camera's orientation tag turns it
    height: int
    mode: str  # as Pillow names it
    kind: str  # of the file, as Pillow names it
    depth: int = 8  # bits a channel, if more than 8
    brightest: int | None = None  # of a decoded deep image, of 65535
    alpha: bool = False  # may have transparency; once decoded: has some
    frames: bool = False  # several; the first one counts
    damaged_exif: bool = False

    @property
    def grey(self) -> bool:
        """Whether the file has one colour channel."""
        return self.mode in _GREY or self.mode.startswith("I;")


def decode(data: bytes, where: str) -> np.ndarray:
    """One image file as `[H, W, C]` uint8: grey (1), RGB (3), or RGBA (4) where it has transparency.

    The camera's orientation tag is applied; of an animation the first frame counts; 16 bits are rounded to 8.

    Args:
      data: the bytes of the file.
      where: the file's name, for errors.
    """
    return decode_file(data, where)[0]


def decode_file(data: bytes, where: str) -> tuple[np.ndarray, Facts]:
    """The pixels of `decode`, and the facts of the file."""
    ImageOps = require("PIL.ImageOps", extra="data")
    with _reading(io.BytesIO(data), where) as (image, facts, kind):
        if facts.depth > 8 and kind != "AVIF":  # libavif rounds by itself
            picture, brightest = read_deep(data, image, kind, facts.depth)
            if (turn := _orientation(image)) > 1:
                picture.getexif()[_ORIENTATION] = turn
            facts = dataclasses.replace(facts, brightest=brightest)
        else:
            image.load()
            picture = image
        with contextlib.suppress(Exception):  # a damaged EXIF block: the pixels are still complete
            picture = ImageOps.exif_transpose(picture)
        mode = "L" if picture.mode in ("1", "L") else "RGB"
        if picture.mode in _WITH_ALPHA or "transparency" in picture.info:
            mode = "RGBA"
        pixels = np.array(picture.convert(mode))
    transparent = mode == "RGBA" and bool((pixels[..., 3] < 255).any())
    facts = dataclasses.replace(facts, alpha=transparent, height=pixels.shape[0], width=pixels.shape[1])
    return (pixels[..., None] if pixels.ndim == 2 else pixels), facts


def read_header(stream: Any, where: str) -> Facts:
    """The facts in the header of an image file; its pixels are not read.

    Args:
      stream: the file, open and seekable.
      where: its name, for errors.
    """
    with _reading(stream, where) as (_, facts, _):
        return facts


@contextlib.contextmanager
def _reading(stream: Any, where: str) -> Iterator[tuple[Any, Facts, str]]:
    """An image file opened by Pillow, the facts in its header, and its kind; every failure becomes a `BadImage`."""
    Image = require("PIL.Image", extra="data")
    head = stream.read(HEAD_BYTES)
    if (size := stream.seek(0, io.SEEK_END)) > MAX_FILE_BYTES:
        raise BadImage(where, TOO_LARGE)
    stream.seek(max(0, size - TAIL_BYTES))
    kind = sniff(head, stream.read(TAIL_BYTES))
    stream.seek(0)
    if kind is None:
        raise BadImage(where, reason_not_read(head))
    if kind == "JPEG" and (damage := _before_pixels(stream)):
        raise BadImage(where, f"is not a readable image: {damage}")
    stream.seek(0)
    try:
        with _quiet(), Image.open(stream, formats=[kind]) as image:  # only this reader: some others start programs
            if image.width * image.height > MAX_PIXELS:
                raise BadImage(
                    where, f"is {image.height} x {image.width} px; more than {MAX_PIXELS} pixels are refused"
                )
            yield image, _facts(image, kind, head, where), kind
    except DataError:
        raise
    except TooDeep as error:
        raise BadImage(where, f"is {error}, which is not read; save it with 8") from error
    except Exception as error:  # decoders raise errors of any type on damaged files
        raise BadImage(where, f"is not a readable image: {_said(error, kind)}") from error


def _before_pixels(stream: Any) -> str | None:
    """What is wrong with a JPEG before its pixels, None if nothing is. Pillow would search any length of junk, byte by byte."""
    stream.seek(2)
    junk = 0
    while junk < _MOST_JUNK:
        byte = stream.read(1)
        if not byte:
            return "it ends before its pixels"
        if byte != b"\xff":
            junk += 1
            continue
        while (marker := stream.read(1)) == b"\xff" and junk < _MOST_JUNK:
            junk += 1
        if marker in (b"\xda", b"\xd9"):
            return None
        if marker == b"\0" or b"\xd0" <= marker <= b"\xd8" or marker == b"\x01":  # these have no length
            junk += 2
            continue
        length = stream.read(2)
        if len(length) < 2:
            return "it ends before its pixels"
        stream.seek(max(0, int.from_bytes(length, "big") - 2), io.SEEK_CUR)
        junk += 4
    return "it holds no pixels where a JPEG has them"


_MOST_JUNK = 1 << 16  # bytes of a JPEG before its pixels that are neither marker nor segment


def reason_not_read(head: bytes) -> str:
    """The reason why a file with these first bytes is not read."""
    if picture := picture_not_read(head):
        return f"is {picture}, which is not read; save it as JPEG or PNG"
    return f"is not a readable image: it is {what_else(head)}"


def _facts(image: Any, kind: str, head: bytes, where: str) -> Facts:
    if kind == "TIFF":
        tags = image.tag_v2
        if head[8:10] == b"CR" or _DNG in tags or (isinstance(tags.get(_SUBFILE), int) and tags[_SUBFILE] & 1):
            raise BadImage(
                where, "is a camera's raw file, of which only a preview could be read; develop it to JPEG or PNG"
            )
    depth = depth_of(image, kind, head)
    if image.mode.startswith(("I", "F")) and depth > 16:
        raise BadImage(
            where, f"has more than 8 bits a channel (mode {image.mode}), whose range is not known; save it with 8 or 16"
        )
    if kind == "JPEG2000" and depth > 8:
        raise BadImage(where, f"is a JPEG 2000 of {depth} bits a channel; more than 8 are not read of it")
    width, height = image.size
    if _orientation(image) >= 5:
        width, height = height, width
    try:  # MPO: a photograph with a preview behind it is no animation
        frames = kind != "JPEG" and bool(getattr(image, "is_animated", False))
    except Exception:
        frames = False
    alpha = image.mode in _WITH_ALPHA or "transparency" in image.info
    mode = {(16, 4): "LA"}.get((head[24], head[25]), image.mode) if kind == "PNG" and len(head) > 25 else image.mode
    exif = image.info.get("exif")
    damaged = isinstance(exif, bytes) and not _is_whole_exif(exif)
    return Facts(width, height, mode, kind, depth, None, alpha, frames, damaged)


def _orientation(image: Any) -> int:
    """The camera's orientation tag, 1 .. 8; 1 where there is none to be read."""
    Image = require("PIL.Image", extra="data")
    try:
        if hasattr(image, "tag_v2"):
            value = image.tag_v2.get(_ORIENTATION, 1)
        else:  # not image.getexif(), which reads a whole PNG and then hides that it is damaged
            exif = Image.Exif()
            exif.load(image.info.get("exif") or b"")
            value = exif.get(_ORIENTATION, 1)
    except Exception:  # of a damaged block
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _is_whole_exif(block: bytes) -> bool:
    """Whether the first directory of an EXIF block lies in it."""
    block = block.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) < 8:
        return False
    at = struct.unpack(order + "I", block[4:8])[0]
    if at + 2 > len(block):
        return False
    return at + 2 + 12 * struct.unpack(order + "H", block[at : at + 2])[0] <= len(block)


def _said(error: Exception, kind: str) -> str:
    """The message of a decoder's error, without addresses of objects."""
    if type(error).__name__ == "UnidentifiedImageError" or isinstance(error, KeyError):
        return f"its {kind} header is damaged, or this Pillow reads no {kind}"
    text = re.sub(r"\s*<[^<>]* at 0x[0-9a-fA-F]+>", "", str(error)).strip()
    return text or type(error).__name__


_quiet_lock = threading.Lock()
_quiet_depth = 0
_quiet_filters: Any = None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences Pillow's warnings about metadata in any number of threads at once (`catch_warnings` is for one)."""
    global _quiet_depth, _quiet_filters
    with _quiet_lock:
        if _quiet_depth == 0:
            _quiet_filters = warnings.catch_warnings()
            _quiet_filters.__enter__()
            warnings.simplefilter("ignore")
        _quiet_depth += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0:
                _quiet_filters.__exit__(None, None, None)


def encode_png(pixels: np.ndarray) -> bytes:
    """`[H, W, C]` uint8 (C: 1, 3 or 4) as a PNG file, without loss."""
    Image = require("PIL.Image", extra="data")
    stream = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(stream, format="PNG")
    return stream.getvalue()
