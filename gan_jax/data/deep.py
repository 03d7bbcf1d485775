"""Images of more than 8 bits a channel, read with all bits and then rounded to 8 (Pillow alone cuts the low bits off).

Pillow unpacks 16-bit colour to its high bytes. The same file unpacked in the other byte order gives the low bytes, so two
passes give all 16 bits without another decoder.
"""

from __future__ import annotations

import io
import re
import struct
import sys
import zlib
from typing import Any

import numpy as np

from gan_jax.extras import require

_SWAPPED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


class TooDeep(ValueError):
    """Values whose range is not known, or whose bits Pillow cannot give completely."""


def depth_of(image: Any, kind: str, head: bytes) -> int:
    """Bits a channel of a file, by its header; 8 for fewer.

    Args:
      image: as Pillow opened it, not loaded.
      kind: of the file, as `sniff` gives it.
      head: the first bytes of the file.
    """
    if kind == "PNG":
        return max(8, head[24]) if len(head) > 24 and head[25] != 3 else 8
    if kind == "TIFF":
        return max(8, *(int(bits) for bits in image.tag_v2.get(258, (8,))))
    if kind == "PPM":
        return max(8, _ppm_header(head)[3].bit_length())
    if kind == "JPEG2000" and (at := head.find(b"\xff\x51")) >= 0 and len(head) > at + 40:
        return max(8, (head[at + 40] & 0x7F) + 1)
    if kind == "AVIF" and (at := head.find(b"av1C")) >= 0 and len(head) > at + 6:
        return 8 if not head[at + 6] & 0x40 else 12 if head[at + 6] & 0x20 else 10
    return 32 if image.mode.startswith(("I", "F")) and not image.mode.startswith("I;16") else 8


def read_deep(data: bytes, image: Any, kind: str, depth: int) -> tuple[Any, int]:
    """A deep image as a Pillow image rounded to 8 bits, and its brightest value in 1/65535 of the range.

    Raises:
      TooDeep: it cannot be read with all its bits.
    """
    Image = require("PIL.Image", extra="data")
    if kind == "PPM":
        values, top = _read_ppm(data)
    elif kind == "PNG":
        values, top = _read_png(data, image), 65535
    elif kind == "TIFF" and image.tag_v2.get(262) == 0:
        raise TooDeep(f"of {depth} bits a channel with white as 0")
    elif kind in ("TIFF", "JPEG2000") and image.mode.startswith("I;16") and kind == "TIFF":
        values, top = np.array(image).astype(np.uint16), (1 << depth) - 1
    elif kind == "TIFF" and depth == 16 and image.mode in ("RGB", "RGBA", "CMYK", "RGBX"):
        values, top = _both_bytes(data, kind), 65535
    else:
        raise TooDeep(f"of {depth} bits a channel (mode {image.mode})")
    values = values.astype(np.uint32)
    small = ((values * 255 + top // 2) // top).clip(0, 255).astype(np.uint8)
    cmyk = image.mode == "CMYK"
    mode = "CMYK" if cmyk else _MODES[1 if small.ndim == 2 else small.shape[2]]
    colours = values[..., :1] if mode == "LA" else values[..., :3] if mode == "RGBA" else values
    brightest = 65535 if cmyk else int(colours.max()) * 65535 // top
    if small.ndim == 3 and small.shape[2] == 1:
        small = small[..., 0]
    if mode == "CMYK":
        return Image.frombytes("CMYK", (small.shape[1], small.shape[0]), small.tobytes()), brightest
    return Image.fromarray(small), brightest


def _both_bytes(data: bytes, kind: str) -> np.ndarray:
    """High and low bytes of 16-bit colour, by two passes of Pillow."""
    Image = require("PIL.Image", extra="data")
    planes = []
    for swap in (False, True):
        with Image.open(io.BytesIO(data), formats=[kind]) as image:
            raw = [tile[3] if isinstance(tile[3], str) else tile[3][0] for tile in image.tile]
            if not all(re.fullmatch(r"(RGB|RGBA|RGBX|CMYK|R|G|B|A|C|M|Y|K|X);16[BLN]", name) for name in raw):
                raise TooDeep(f"of 16 bits a channel, stored as {raw[0] if raw else 'nothing'}")
            if swap:
                image.tile = [tile._replace(args=_swap(tile[3])) for tile in image.tile]
            planes.append(np.array(image))
    return (planes[0].astype(np.uint16) << 8) | planes[1]


def _swap(args: Any) -> Any:
    name, *rest = (args,) if isinstance(args, str) else args
    other = name[:-1] + _SWAPPED[name[-1]]
    return other if isinstance(args, str) else (other, *rest)


def _read_png(data: bytes, image: Any) -> np.ndarray:
    """16-bit values `[H, W(, C)]` of a PNG; a transparent colour becomes alpha."""
    Image = require("PIL.Image", extra="data")
    colour_type = data[25]
    if colour_type == 4:  # grey and alpha: four bytes a pixel, as 8-bit RGBA has them; only the header says which
        header = b"IHDR" + data[16:24] + bytes([8, 6]) + data[26:29]
        twin = data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
        with Image.open(io.BytesIO(twin), formats=["PNG"]) as other:
            pixels = np.array(other).astype(np.uint16)
        return np.stack([pixels[..., 0] << 8 | pixels[..., 1], pixels[..., 2] << 8 | pixels[..., 3]], -1)
    clear = image.info.get("transparency")
    values = np.array(image).astype(np.uint16) if colour_type == 0 else _both_bytes(data, "PNG")
    if clear is None or colour_type == 6:
        return values
    values = values[..., None] if values.ndim == 2 else values
    alpha = np.where((values == np.array(clear)).all(-1, keepdims=True), 0, 65535).astype(np.uint16)
    return np.concatenate([values, alpha], -1)


def _ppm_header(data: bytes) -> tuple[bytes, int, int, int, int]:
    """(kind, width, height, largest value, offset of the values) of a portable map."""
    match = re.match(rb"(P[1-6])" + rb"(?:\s|#[^\n]*\n)+(\d{1,9})" * 2, data)
    if not match:
        raise ValueError("its header is damaged")
    kind, width, height = match[1], int(match[2]), int(match[3])
    if kind in (b"P1", b"P4"):
        return kind, width, height, 1, match.end() + 1
    limit = re.compile(rb"(?:\s|#[^\n]*\n)+(\d{1,9})\s").match(data, match.end())
    if not limit or not 0 < int(limit[1]) < 65536:
        raise ValueError("its header is damaged")
    return kind, width, height, int(limit[1]), limit.end()


def _read_ppm(data: bytes) -> tuple[np.ndarray, int]:
    """Values `[H, W(, 3)]` of a portable map of more than 8 bits, and their largest possible value."""
    kind, width, height, top, at = _ppm_header(data)
    shape = (height, width, 3) if kind in (b"P3", b"P6") else (height, width)
    count = int(np.prod(shape))
    if kind in (b"P5", b"P6"):
        if len(data) - at < 2 * count:
            raise ValueError(f"image file is truncated ({len(data) - at} of {2 * count} bytes)")
        values = np.frombuffer(data, ">u2", count, at).astype(np.uint16)
    else:
        words = re.sub(rb"#[^\n]*", b"", data[at:]).split()
        if len(words) < count:
            raise ValueError(f"image file is truncated ({len(words)} of {count} values)")
        values = np.array(words[:count], dtype=np.int64)
    if int(values.max(initial=0)) > top:
        raise ValueError(f"it has a value above the {top} that it declares")
    return values.reshape(shape).astype(np.uint16), top
