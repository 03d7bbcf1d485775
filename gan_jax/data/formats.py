"""The kind of a file, from its bytes alone: its name never chooses the reader."""

from __future__ import annotations

import re

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
