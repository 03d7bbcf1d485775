"""Single image files: their format from their bytes, decoding within a limit, encoding.

A file that cannot be read is an error that names it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import re
import struct
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from gan_jax.data.deep import TooDeep, depth_of, read_deep
from gan_jax.data.images import DataError
from gan_jax.extras import require

# ----------------------------------------------------------------------------------------------------------------------
# Limits of what is read from one file: a file that unpacks to far more than its size is refused before.

MAX_FILE_BYTES = 1 << 28  # of one file in a folder or zip, unpacked; larger ones are refused before they are read
MAX_UNPACKED_BYTES = 1 << 30  # that a compressed file may unpack to, if `MAX_RATIO` times its size is less
MAX_RATIO = 100


def check_unpacked(path: Any, size: int, packed: int | None = None) -> None:
    """Refuses a file that would unpack to far more than its size.

    Args:
      path: of the compressed file.
      size: unpacked, bytes.
      packed: size of the compressed file, bytes; None reads it from the disk.
    """
    packed = os.stat(path).st_size if packed is None else packed
    most = max(MAX_UNPACKED_BYTES, MAX_RATIO * packed)
    if size > most:
        raise DataError(
            f"{path} has {packed:,} bytes and unpacks to {size:,}; the limit is {MAX_UNPACKED_BYTES:,} bytes or "
            f"{MAX_RATIO} times the file. If it is the right file, store it without compression"
        )


# ----------------------------------------------------------------------------------------------------------------------
# The kind of a file, from its bytes alone: its name never chooses the reader.

HEAD_BYTES = 512  # at the beginning of a file: enough for every kind below
TAIL_BYTES = 26  # at its end: the footer of a TGA file

READ = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "TGA", "AVIF", "JPEG2000")  # as Pillow names them
EXTENSIONS = (  # of files that are meant as images, whatever their content
    ".png .apng .jpg .jpeg .jpe .jfif .webp .bmp .dib .gif .tif .tiff .ppm .pgm .pbm .pnm .tga .avif .avifs .jp2 .j2k .jpf "
    ".jpx .heic .heif .jxl .psd .exr .hdr .pfm .pam .ico .cur .icns .svg .eps .cr2 .cr3 .nef .arw .dng .orf .rw2 .raf"
).split()

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
)
_OTHER_PICTURES = (  # kinds of picture that are recognised and not read
    (b"8BPS", "a Photoshop document"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (b"v/1\x01", "an OpenEXR picture"),
    (b"#?RADIANCE", "a Radiance HDR picture"),
    (b"%!PS", "a PostScript drawing"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript drawing"),
    (b"\0\0\1\0", "an icon"),
    (b"icns", "an icon"),
    (b"FUJIFILMCCD-RAW", "a camera's raw file"),
    (b"IIRO", "a camera's raw file"),
    (b"IIU\0", "a camera's raw file"),
)
_BRANDS = {
    b"avif": "AVIF", b"avis": "AVIF", b"heic": "a HEIC picture", b"heix": "a HEIC picture", b"heif": "a HEIC picture",
    b"hevc": "a HEIC picture", b"mif1": "a HEIC picture", b"msf1": "a HEIC picture", b"crx ": "a camera's raw file",
}  # fmt: skip
_OTHER_FILES = (  # other kinds that turn up under an image's name
    (b"%PDF", "a PDF document"),
    (b"PK\3\4", "a zip file"),
    (b"\x1f\x8b", "a gzip file"),
    (b"SQLite format", "a database"),
    (b"version https://git-lfs", "a pointer of Git LFS, whose file was not fetched"),
)


def sniff(head: bytes, tail: bytes = b"") -> str | None:
    """The kind of image as Pillow names it (one of `READ`); None for anything else.

    Args:
      head: the first `HEAD_BYTES` of the file, or all of it.
      tail: its last `TAIL_BYTES`.
    """
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:2] == b"BM" and head[14:18] in {bytes([n, 0, 0, 0]) for n in (12, 16, 40, 52, 56, 64, 108, 124)}:
        return "BMP"
    if re.match(rb"P[1-6][\s#]", head):
        return "PPM"
    if (brand := _brand(head)) == "AVIF":
        return brand
    return "TGA" if _is_tga(head, tail) else None


def picture_not_read(head: bytes) -> str | None:
    """The kind of a picture that is not read, as `a HEIC picture`; None for any other file."""
    for magic, kind in _OTHER_PICTURES:
        if head.startswith(magic):
            return kind
    if re.match(rb"P[Ff7]\s", head):
        return "a portable map of floats" if head[1:2] in b"Ff" else "a portable arbitrary map"
    if re.match(
        rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!DOCTYPE svg[^>]*>\s*)?<svg[\s>]",
        head.removeprefix(b"\xef\xbb\xbf"),
        re.S,
    ):
        return "an SVG drawing"
    brand = _brand(head)
    return brand if brand != "AVIF" else None


def what_else(head: bytes) -> str:
    """The kind of a file that is no picture, in words."""
    if not head:
        return "empty"
    for magic, kind in _OTHER_FILES:
        if head.startswith(magic):
            return kind
    if head[4:8] == b"ftyp":
        return "a film"
    if re.match(rb"\s*(<!doctype html|<html|<head|<body)", head.removeprefix(b"\xef\xbb\xbf"), re.I):
        return "a page of HTML"
    if not head.strip(b"\0"):
        return "nothing but zeros"
    printable = sum(byte >= 32 or byte in b"\t\r\n" for byte in head)
    return "text" if printable == len(head) else "of no known kind"


def _brand(head: bytes) -> str | None:
    """The first known brand of an ISO media file (HEIF and related ones)."""
    if head[4:8] != b"ftyp":
        return None
    size = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, size, 4))]
    known = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
    # `mif1` is said of every still picture: AVIF and HEIC stand after it.
    return "AVIF" if "AVIF" in known else known[0] if known else None


def _is_tga(head: bytes, tail: bytes) -> bool:
    """Whether a header is one that only TGA has; version 1 has no magic number."""
    if len(head) < 18:
        return False
    mapped, kind, depth = head[1], head[2], head[16]
    if mapped not in (0, 1) or kind not in (1, 2, 3, 9, 10, 11) or depth not in (8, 15, 16, 24, 32):
        return False
    if (kind in (1, 9)) != (mapped == 1) or not any(head[12:14]) or not any(head[14:16]):
        return False
    return tail.endswith(b"TRUEVISION-XFILE.\0") or (mapped == 1 or not any(head[3:8])) and head[17] & 0xC0 == 0


# ----------------------------------------------------------------------------------------------------------------------
# Decoding and encoding.

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


def decode_indices(data: bytes, where: str) -> tuple[np.ndarray, Facts]:
    """One file of a map as `[H, W]` int32, the numbers that it stores (of a palette its indices), and its facts.

    The camera's orientation tag is applied, as to the image that belongs to it.

    Args:
      data: the bytes of the file.
      where: the file's name, for errors.

    Raises:
      BadImage: the file is damaged.
      NoIndices: it stores colours, or has lost its numbers by compression.
    """
    ImageOps = require("PIL.ImageOps", extra="data")
    with _reading(io.BytesIO(data), where) as (image, facts, kind):
        if kind in _LOSSY:
            raise NoIndices(where, f"is a {kind}, whose compression changes numbers")
        if image.mode not in ("1", "L", "P", "I") and not image.mode.startswith("I;16"):
            raise NoIndices(where, f"stores colours ({image.mode})")
        image.load()
        with contextlib.suppress(Exception):
            image = ImageOps.exif_transpose(image)
        indices = np.array(image).astype(np.int32)
        # Pillow spreads grey of 2 and 4 bits over 0 .. 255.
        bits = data[24] if kind == "PNG" and image.mode == "L" else 8
        if bits in (2, 4):
            indices //= 255 // (2**bits - 1)
    return indices, dataclasses.replace(facts, height=indices.shape[0], width=indices.shape[1])


class NoIndices(DataError):
    """A readable file that cannot be a map of numbers; the message is `WHERE REASON`."""

    def __init__(self, where: str, reason: str):
        super().__init__(f"{where} {reason}")
        self.reason = reason


_LOSSY = ("JPEG", "AVIF", "WEBP", "JPEG2000")


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
        raise BadImage(where, f"is not a readable image: {_message(error, kind)}") from error


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


def _message(error: Exception, kind: str) -> str:
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
    """`[H, W, C]` uint8 (C: 1, 3 or 4), or uint16 of one channel, as a PNG file, without loss."""
    Image = require("PIL.Image", extra="data")
    stream = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(stream, format="PNG")
    return stream.getvalue()
