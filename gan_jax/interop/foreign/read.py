"""Opens a file of weights from elsewhere, whatever its name: its first bytes say what it is."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.interop.foreign import array_files, keras_h5, torch_files
from gan_jax.interop.foreign.archive import Archive, Budget, ForeignError, Limits
from gan_jax.interop.foreign.collect import Collector, Recorded, is_tf_network, is_torch_network, named_root
from gan_jax.interop.foreign.pickles import ALLOWED, Cursor, unpickle
from gan_jax.interop.foreign.torch_files import read_torch_zip, root_of

KERAS_ARCHIVE = "model.weights.h5"  # in a `.keras` file
KNOWN = "torch (.pt, .pth, .ckpt), NVlabs .pkl, safetensors, npz, npy, Keras HDF5 and pickles of NumPy arrays are known"


@dataclasses.dataclass(frozen=True)
class Foreign:
    """The contents of a foreign file of weights.

    Attributes:
      path: of the file.
      format: `torch zip`, `torch legacy`, `stylegan torch pickle`, `stylegan tf pickle`, `pickle`, `safetensors`,
        `npz`, `npy`, `hdf5`, `keras archive`.
      sha256: of the whole file (hex), of the very bytes that were read.
      tensors: `{name: array}` in the order of the file, read-only, in this machine's byte order. Names are those of
        the file; of nested dicts and lists joined by dots.
      values: what was beside the tensors: numbers, strings, lists of them, None; by dotted names.
      stubs: objects of other programs by the dotted name of their place: their class, and what they were made with.
    """

    path: Path
    format: str
    sha256: str
    tensors: dict[str, np.ndarray]
    values: dict[str, Any]
    stubs: dict[str, Recorded]


def read_foreign(path: str | Path, limits: Limits | None = None) -> Foreign:
    """Reads the tensors of a file, and runs nothing of it.

    Args:
      path: a regular file.
      limits: what reading may cost; None = the defaults.

    Raises:
      ForeignError: one line: the file, what is wrong, what would be right.
      ImportError: the file is HDF5 and h5py is absent.
    """
    path = Path(path)
    try:
        data = _bytes(path, limits or Limits())
        budget = Budget(limits or Limits(), len(data))
        form, tensors, values, stubs = _read(data, budget)
        if not tensors:
            raise ForeignError(
                "holds no tensor at all; a file of weights holds some (a frozen TorchScript program has constants instead: "
                "save the state_dict of the module that it was made of)"
            )
    except ForeignError as error:
        raise ForeignError(f"{path}: {error}") from error
    except ImportError:
        raise
    except MemoryError as error:
        size = path.stat().st_size
        raise ForeignError(
            f"{path}: too little memory to read its {size:,} bytes, which may be whole; free some, or read it on a larger machine"
        ) from error
    except Exception as error:  # whatever upsets a reader of bytes is damage in them
        why = f"{type(error).__name__}: {str(error)[:100]}".splitlines()[0]
        raise ForeignError(f"{path}: damaged or cut ({why}); copy it again") from error
    for array in tensors.values():
        array.flags.writeable = False
    return Foreign(path, form, hashlib.sha256(data).hexdigest(), tensors, values, stubs)


def _bytes(path: Path, limits: Limits) -> bytes:
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ForeignError("no regular file; name a file of weights")
            if status.st_size > limits.file_bytes:
                raise ForeignError(
                    f"{status.st_size:,} bytes long; pass Limits(file_bytes=..) to read more than {limits.file_bytes:,}"
                )
            return file.read(status.st_size)
    except OSError as error:
        raise ForeignError(f"cannot be read ({error.strerror}); name a file of weights") from error


Contents = tuple[str, dict[str, np.ndarray], dict[str, Any], dict[str, Recorded]]


def _read(data: bytes, budget: Budget) -> Contents:
    """The format that the first bytes promise."""
    if data.startswith(b"PK"):
        return _archive(Archive(data, budget), budget)
    if data.startswith(torch_files.HEAD):
        cursor = Cursor(memoryview(data))
        return _flat("torch legacy", lambda: torch_files.read_torch_legacy(cursor, budget), cursor, budget)
    if data.startswith(keras_h5.MAGIC):
        return ("hdf5", *_numbers(*keras_h5.read_h5(data, budget), budget))
    if data.startswith(array_files.MAGIC):
        return ("npy", *_numbers({"arr_0": array_files.read_npy(memoryview(data))}, {}, budget))
    if array_files.is_safetensors(data):
        return ("safetensors", *_numbers(*array_files.read_safetensors(data, budget), budget))
    if data[257:262] == b"ustar":
        raise ForeignError("a tar archive; unpack it, or save the weights with torch 1.6 or newer")
    if data[:2] in (b"\x1f\x8b", b"BZ", b"\xfd7", b"(\xb5"):
        raise ForeignError("a compressed file; unpack it first (gunzip, bunzip2, unxz, unzstd)")
    if data[:1] == b"\x80" or data[:1] in b"(]}cd" and data[-1:] == b".":
        cursor = Cursor(memoryview(data))
        load = lambda: unpickle(cursor, budget, {**ALLOWED, **torch_files.NESTED})
        return _flat("pickle", load, cursor, budget)
    if data.startswith(b"version https://git-lfs"):
        raise ForeignError("a pointer of Git LFS, not the weights; fetch them with git lfs pull")
    if data[:200].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise ForeignError(
            "a web page, not the weights: a download that was answered with a page; fetch the file again"
        )
    if data.lstrip()[:1] == b"{" and b'"weight_map"' in data:
        raise ForeignError("an index of weights in several files; save them as one file, and name that")
    raise ForeignError(f"no file of weights that is known: {'it is empty' if not data else KNOWN}")


def _archive(archive: Archive, budget: Budget) -> Contents:
    if root_of(archive.names):
        return _flat("torch zip", lambda: read_torch_zip(archive, budget), None, budget)
    if array_files.is_npz(archive):
        return ("npz", *_numbers(array_files.read_npz(archive, budget), {}, budget))
    if KERAS_ARCHIVE in archive.members:
        inner = bytes(archive.read(KERAS_ARCHIVE))
        return ("keras archive", *_numbers(*keras_h5.read_h5(inner, budget), budget))
    if any(re.fullmatch(r"(?:.*/)?model_\d+\.weights\.h5", name) for name in archive.names):
        raise ForeignError(
            "a .keras archive of weights in several files; save them with model.save_weights('x.weights.h5')"
        )
    raise ForeignError(f"a zip archive of none of the known kinds; {KNOWN}")


def _flat(form: str, load: Callable[[], Any], cursor: Cursor | None, budget: Budget) -> Contents:
    root = named_root(load())
    if cursor is not None and cursor.at != len(cursor.data):
        raise ForeignError(
            f"{len(cursor.data) - cursor.at:,} bytes follow after its end: damaged, or several files in one"
        )
    inside = list(root.values()) if isinstance(root, dict) else [root]
    if form == "pickle" and any(map(is_torch_network, inside)):
        form = "stylegan torch pickle"
    elif form == "pickle" and any(map(is_tf_network, inside)):
        form = "stylegan tf pickle"
    collector = Collector(budget)
    collector.visit("", root)
    return form, collector.tensors, collector.values, collector.stubs


def _numbers(arrays: dict[str, np.ndarray], values: dict[str, Any], budget: Budget) -> tuple[Any, Any, Any]:
    """Arrays that are there already, made native; those of strings become values."""
    collector = Collector(budget)
    for name, array in arrays.items():
        collector.number(name, array)
    return collector.tensors, {**values, **collector.values}, {}
