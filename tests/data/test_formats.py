"""Every kind of file: what is read of it, to the last bit, and what is said of the rest."""

from __future__ import annotations

import io
import os
import socket
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image, features

from gan_jax.data import DataError, load, survey
from gan_jax.data.decode import decode, decode_file, encode_png

rng = np.random.default_rng(0)
PHOTO = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
LARGE = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
DEEP = rng.integers(0, 65536, (12, 16, 4), dtype=np.uint16)


def packed(pixels: np.ndarray, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def png16(values: np.ndarray, extra: bytes = b"", interlace: int = 0) -> bytes:
    """16 bits a channel, each row by another filter."""
    height, width, channels = values.shape
    step, raw, before = 2 * channels, b"", np.zeros(2 * channels * width, np.uint8)
    for y in range(height):
        row = np.frombuffer(values[y].astype(">u2").tobytes(), np.uint8)
        left = np.concatenate([np.zeros(step, np.uint8), row[:-step]])
        raw += bytes([y % 3]) + (row - (0, left, before)[y % 3]).astype(np.uint8).tobytes()
        before = row
    chunk = lambda kind, body: struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))  # noqa: E731
    header = struct.pack(">2I5B", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, interlace)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    )


def tiff16(values: np.ndarray, order: str = "<") -> bytes:
    """Uncompressed RGB of 16 bits a channel."""
    height, width, channels = values.shape
    pixels = values.astype(order + "u2").tobytes()
    end = 8 + 2 + 12 * 10 + 4
    entries = [
        (256, 3, 1, width),
        (257, 3, 1, height),
        (258, 3, 3, end),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, end + 6),
    ]
    entries += [(277, 3, 1, channels), (278, 3, 1, height), (279, 4, 1, len(pixels)), (284, 3, 1, 1)]
    out = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(entries))
    for tag, kind, count, value in entries:
        short = kind == 3 and count == 1
        out += struct.pack(order + "HHI", tag, kind, count)
        out += struct.pack(order + "HH", value, 0) if short else struct.pack(order + "I", value)
    return out + struct.pack(order + "I3H", 0, 16, 16, 16) + pixels


def rounded(values: np.ndarray) -> np.ndarray:
    return np.round(values.astype(np.float64) / 257).astype(np.uint8)


# -- more than 8 bits -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png16(DEEP[..., :1]), rounded(DEEP[..., :1])),
        (png16(DEEP[..., :2]), rounded(DEEP[..., [0, 0, 0, 1]])),
        (png16(DEEP[..., :3]), rounded(DEEP[..., :3])),
        (png16(DEEP), rounded(DEEP)),
        (tiff16(DEEP[..., :3]), rounded(DEEP[..., :3])),
        (tiff16(DEEP[..., :3], ">"), rounded(DEEP[..., :3])),
        (b"P6 # a comment\n16 12\n65535\n" + DEEP[..., :3].astype(">u2").tobytes(), rounded(DEEP[..., :3])),
        (b"P5 16 12 65535\n" + DEEP[..., 0].astype(">u2").tobytes(), rounded(DEEP[..., :1])),
        (b"P2\n16 12\n65535\n" + b" ".join(b"%d" % v for v in DEEP[..., 0].ravel()), rounded(DEEP[..., :1])),
        (b"P5 2 1 1023\n" + np.array([1023, 512], ">u2").tobytes(), np.array([[[255], [128]]])),
        (packed(DEEP[..., 0], "TIFF"), rounded(DEEP[..., :1])),
        (packed(DEEP[..., 0], "TIFF", compression="tiff_lzw"), rounded(DEEP[..., :1])),
    ],
    ids="png-grey png-la png-rgb png-rgba tiff-le tiff-be ppm pgm plain ten-bits tiff-grey tiff-lzw".split(),
)
def test_sixteen_bits_are_rounded_not_cut(data, expected):
    pixels, facts = decode_file(data, "x")
    assert_array_equal(pixels, expected)
    assert facts.depth > 8


def test_a_deep_transparent_colour_is_compared_in_all_its_bits():
    values = np.array([[[256, 512, 768], [257, 512, 768]]], np.uint16)
    body = struct.pack(">3H", 256, 512, 768)
    clear = struct.pack(">I", 6) + b"tRNS" + body + struct.pack(">I", zlib.crc32(b"tRNS" + body))
    assert_array_equal(decode(png16(values, clear), "x")[0, :, 3], [0, 255])


def test_depth_and_what_is_left_of_dark_files_are_said(tmp_path):
    ramp = np.arange(192, dtype=np.uint16).reshape(12, 16, 1) * 21  # 0 .. 4011: twelve bits in a file of sixteen
    (tmp_path / "a.png").write_bytes(png16(np.repeat(ramp, 3, 2)))
    (tmp_path / "b.png").write_bytes(packed(PHOTO, "PNG"))
    (note,) = load(f"folder:{tmp_path}").notes
    assert note.startswith(
        "1 of 2 images has 16 bits a channel, rounded to 8; their brightest value is 6.1 % of the range"
    )
    assert survey(f"folder:{tmp_path}").depth == 16


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_values_of_no_known_range_are_left_out_with_a_reason(kind):
    with pytest.raises(DataError, match=r"x has more than 8 bits a channel .*range is not known"):
        decode(packed(np.ones((4, 4), kind), "TIFF"), "x")


# -- kinds ------------------------------------------------------------------------------------------


KINDS = ["PNG", "BMP", "TIFF", "TGA", "PPM", "GIF", "JPEG", "WEBP", "JPEG2000", "AVIF"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_content_decides_and_not_the_name(tmp_path, kind):
    if kind == "AVIF" and "AVIF" not in Image.registered_extensions().values():
        pytest.skip("this Pillow has no AVIF")
    if kind == "JPEG2000" and not features.check("jpg_2000"):
        pytest.skip("this Pillow has no JPEG 2000")
    lossless = {"WEBP": {"lossless": True}}.get(kind, {})
    for name in ("a.jpg", "b", "c.png.part", "d.jfif"):
        (tmp_path / name).write_bytes(packed(PHOTO, kind, **lossless))
    images = load(f"folder:{tmp_path}")
    assert images.images.shape == (4, 12, 16, 3) and not images.left_out
    if kind not in ("GIF", "JPEG", "AVIF"):
        assert_array_equal(images.images[0], PHOTO)
    assert survey(f"folder:{tmp_path}").kinds == {kind: 4}


NOT_READ = {
    "x.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC picture"),
    "x.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "a PostScript drawing"),
    "x": (b"8BPS\0\1", "a Photoshop document"),
    "x.svg": (b"<?xml version='1.0'?>\n<svg xmlns=", "an SVG drawing"),
    "x.jpg": (b"<!DOCTYPE html><html>404", "not a readable image: it is a page of HTML"),
    "x.jpeg": (b"", "not a readable image: it is empty"),
    "x.webp": (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
    "x.tif": (b"\0" * 600, "nothing but zeros"),
    "x.gif": (b"GIF89a", "its GIF header is damaged"),
    "x.jxl": (b"\xff\x0a\0", "a JPEG XL picture"),
    "x.jpe": (b"\xff\xd8\xff\xe0" + b"\0" * 100_000, "not a readable image"),
}


@pytest.mark.parametrize("name", NOT_READ)
def test_what_is_not_read_is_left_out_with_its_reason(tmp_path, name):
    data, says = NOT_READ[name]
    (tmp_path / name).write_bytes(data)
    (tmp_path / "good.png").write_bytes(packed(PHOTO, "PNG"))
    (tmp_path / "readme.txt").write_bytes(b"a text is no picture")
    images = load(f"folder:{tmp_path}")
    ((file, reason),) = images.left_out
    assert file == name and says in reason and " at 0x" not in reason and len(images) == 1
    assert survey(f"folder:{tmp_path}", whole=True).left_out == images.left_out
    with pytest.raises(DataError, match=f"{name} is "):
        load(f"folder:{tmp_path}", bad="fail")


def test_all_bad_files_are_named_at_once(tmp_path, monkeypatch):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(packed(LARGE, "JPEG")[:-200] if name != "c.jpg" else b"")
    (tmp_path / "d.jpg").write_bytes(packed(LARGE, "JPEG"))
    with pytest.raises(
        DataError, match=r"3 files cannot be read: a.jpg is .*truncated.*; b.jpg is .*; c.jpg is .*empty"
    ):
        load(f"folder:{tmp_path}", bad="fail")
    assert len(load(f"folder:{tmp_path}")) == 1
    seen = survey(f"folder:{tmp_path}")
    assert seen.count == 3 and not seen.whole  # by headers; the third is empty
    seen = survey(f"folder:{tmp_path}", whole=None)
    assert seen.count == 1 and seen.whole and len(seen.left_out) == 3, "few pixels: what is counted is what is read"
    monkeypatch.setattr("gan_jax.data.overview.WHOLE_PX", 100)
    assert survey(f"folder:{tmp_path}", whole=None) == survey(f"folder:{tmp_path}")
    with pytest.raises(DataError, match=r"3 files cannot be read"):
        survey(f"folder:{tmp_path}", bad="fail", whole=True)


def test_labels_stay_with_their_images_behind_one_that_cannot_be_read(tmp_path):
    for name, data in {
        "a/0": packed(LARGE, "JPEG")[:-200],
        "b/1": packed(LARGE, "JPEG"),
        "c/2": packed(LARGE, "JPEG"),
    }.items():
        path = tmp_path / f"{name}.jpg"
        path.parent.mkdir()
        path.write_bytes(data)
    images = load(f"folder:{tmp_path}")
    assert [file for file, _ in images.left_out] == ["a/0.jpg"] and images.labels.tolist() == [1, 2]


def test_a_raw_file_is_not_read_as_its_preview():
    stream = io.BytesIO()
    Image.fromarray(PHOTO).save(stream, "TIFF", tiffinfo={254: 1})
    with pytest.raises(DataError, match="x is a camera's raw file"):
        decode(stream.getvalue(), "x")


def test_a_damaged_exif_block_costs_no_pixel(tmp_path):
    data = packed(PHOTO, "JPEG")
    block = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0\x01\0\0\0\x01\0\0\0"  # five entries are said, one is there
    (tmp_path / "a.jpg").write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:])
    (tmp_path / "b.jpg").write_bytes(data)
    images = load(f"folder:{tmp_path}")
    assert_array_equal(images.images[0], images.images[1])
    assert images.notes == (
        "1 of 2 images has a damaged EXIF block: pixels are whole, a camera's turn may not be known",
    )


def test_animations_and_cmyk_are_said(tmp_path):
    frames = [Image.fromarray(np.full((12, 16), value, np.uint8)) for value in (10, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(PHOTO).convert("CMYK").save(tmp_path / "b.jpg")
    notes = " | ".join(load(f"folder:{tmp_path}", channels=3).notes)
    assert "1 of 2 images holds several frames" in notes and "CMYK becomes RGB" in notes


# -- nothing but regular files ------------------------------------------------------------------------


def test_only_regular_files_are_opened(tmp_path):
    (tmp_path / "good.png").write_bytes(packed(PHOTO, "PNG"))
    os.symlink(tmp_path / "good.png", tmp_path / "link.png")
    os.mkfifo(tmp_path / "fifo.png")
    os.symlink("/dev/zero", tmp_path / "endless.png")
    os.symlink("nowhere", tmp_path / "dead.png")
    here = Path.cwd()
    os.chdir(tmp_path)  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket.png")
    finally:
        os.chdir(here)
    with open(tmp_path / "large.jpg", "wb") as file:
        file.write(b"\xff\xd8\xff\xe0")
        file.truncate(1 << 34)
    images = load(f"folder:{tmp_path}")
    reasons = dict(images.left_out)
    assert len(images) == 2 and list(reasons) == ["dead.png", "endless.png", "fifo.png", "large.jpg", "socket.png"]
    assert reasons["fifo.png"] == "is a FIFO, not a regular file"
    assert reasons["endless.png"] == "is a link to a device, not a regular file"
    assert reasons["dead.png"] == "is a link to nothing, not a regular file"
    assert reasons["socket.png"] == "is a socket, not a regular file"
    assert "larger than 268435456 bytes" in reasons["large.jpg"]
    assert survey(f"folder:{tmp_path}").left_out == images.left_out


def test_what_shape_takes_is_said(tmp_path):
    (tmp_path / "a.png").write_bytes(encode_png(np.full((8, 8, 3), (1, 2, 3), np.uint8)))
    (tmp_path / "b.png").write_bytes(encode_png(np.full((4, 20, 4), 7, np.uint8)))
    (tmp_path / "c.png").write_bytes(encode_png(np.full((4, 4, 1), 9, np.uint8)))
    found = survey(f"folder:{tmp_path}")
    assert (found.count, found.channels, found.alpha, found.resolution) == (3, 3, True, 4)
    assert found.sizes == {(8, 8): 1, (20, 4): 1, (4, 4): 1} and found.modes == {"RGB": 1, "RGBA": 1, "L": 1}
    assert load(f"folder:{tmp_path}", resolution=6, channels=1).notes == (
        "1 of 3 images is not square: cut to the centre (data.fit pad or stretch keeps all of it)",
        "images of 4 x 4 to 20 x 4 px become 6 x 6 px: 1 reduced, 2 enlarged, which adds no detail",
        "colour becomes grey in 1 of 3 images (data.channels 3 keeps it)",
        "transparency is laid on white in 1 of 3 images (data.channels 4 keeps it)",
    )
    padded = load(f"folder:{tmp_path}", resolution=4, channels=4, fit="pad")
    assert_array_equal(padded.images[1, :, :, 3], [[0] * 4, [7] * 4, [0] * 4, [0] * 4])
