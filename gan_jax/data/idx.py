"""The idx format of MNIST and similar sets: two files a split, plain or compressed (.gz, .xz)."""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import zlib
from typing import Any

import numpy as np

from gan_jax.data.decode import check_unpacked
from gan_jax.data.images import DataError, Images, from_arrays

SPLITS = {"train": ("train",), "test": ("t10k", "test")}  # split -> prefixes of its file names


def read_idx(folder: Any, split: str = "train", name: str | None = None) -> Images:
    """Reads the images and labels of one split from a folder of idx files.

    Args:
      folder: a path (or resource) with e.g. `train-images-idx3-ubyte.gz` and `train-labels-idx1-ubyte.gz`; its
        `classes.txt` may hold names of classes, one a line.
      split: "train" or "test" (whose files may begin with t10k).
      name: of the set.
    """
    if split not in SPLITS:
        raise DataError(f"{folder} has no split {split!r}; use train or test")
    files = {entry.name: entry for entry in folder.iterdir()} if folder.is_dir() else {}
    images = _read(_find(files, folder, split, "images"), dims=3)
    labels = _read(_find(files, folder, split, "labels"), dims=1)
    names = None
    if "classes.txt" in files:
        names = files["classes.txt"].read_text(encoding="utf-8").splitlines()
    if len(images) != len(labels):
        raise DataError(f"{folder}: {len(images)} {split} images but {len(labels)} labels; the files are not a pair")
    return from_arrays(images, labels, name=name or f"idx:{folder}:{split}", class_names=names)


def has_idx(names: Any) -> bool:
    """Whether these file names look like a folder of idx files."""
    return any("idx3-ubyte" in name or "idx1-ubyte" in name for name in names)


def _find(files: dict[str, Any], folder: Any, split: str, what: str) -> Any:
    matches = [f for f in sorted(files) if f.startswith(SPLITS[split]) and f"-{what}" in f and "ubyte" in f]
    if not matches:
        raise DataError(f"{folder} has no idx file {SPLITS[split][0]}-{what}-idx{'31'[what == 'labels']}-ubyte[.gz]")
    return files[matches[0]]


def _read(file: Any, dims: int) -> np.ndarray:
    """The array in an idx file of unsigned bytes with `dims` dimensions."""
    try:
        if not file.is_file():
            raise DataError(f"{file} is not a regular file")
        raw = file.read_bytes()
        opened = {".gz": gzip.open, ".xz": lzma.open}.get(file.name[-3:], lambda stream: stream)(io.BytesIO(raw))
        header = opened.read(4 + 4 * dims)
        if len(header) < 4 + 4 * dims or header[:4] != bytes([0, 0, 8, dims]):
            begin = header[:4].hex(" ")
            raise DataError(f"{file} is not an idx file of {dims}-dimensional bytes: it begins with {begin!r}")
        shape = struct.unpack(f">{dims}I", header[4:])
        size = int(np.prod(shape, dtype=object))
        if file.name.endswith((".gz", ".xz")):
            check_unpacked(file, size, len(raw))
        body = _read_up_to(opened, size + 1)  # never more than the header declares, whatever unpacks from it
    except (OSError, EOFError, MemoryError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    if len(body) != size:
        count = "more" if len(body) > size else len(body)
        raise DataError(f"{file}: the header declares {size} bytes {list(shape)}, the file holds {count}")
    return np.frombuffer(body, np.uint8).reshape(shape)


def _read_up_to(stream: Any, size: int) -> bytes:
    """At most `size` bytes, in pieces: a header that declares terabytes must not allocate them."""
    pieces = []
    while size > 0 and (piece := stream.read(min(size, 1 << 24))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
