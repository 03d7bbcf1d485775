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

from gan_jax.documents import field_of, read_document
from gan_jax.interop.foreign import array_files, keras_h5, torch_files
from gan_jax.interop.foreign.archive import Archive, Budget, ForeignError, Limits, show
from gan_jax.interop.foreign.collect import Collector, Recorded, is_tf_network, is_torch_network, named_root
from gan_jax.interop.foreign.pickles import ALLOWED, Cursor, unpickle
from gan_jax.interop.foreign.torch_files import read_torch_zip, root_of

KERAS_ARCHIVE = "model.weights.h5"  # in a `.keras` file
KNOWN = "torch (.pt, .pth, .ckpt), NVlabs .pkl, safetensors, npz, npy, Keras HDF5 and pickles of NumPy arrays are known"


@dataclasses.dataclass(frozen=True)
class Foreign:
    """The contents of a foreign file of weights.

    Attributes:
      path: of the file, or of the folder.
      format: `torch zip`, `torch legacy`, `stylegan torch pickle`, `stylegan tf pickle`, `pickle`, `safetensors`,
        `npz`, `npy`, `hdf5`, `keras archive`; of several files that and their number.
      sha256: of the whole file (hex), of the very bytes that were read.
      tensors: `{name: array}` in the order of the file, read-only, in this machine's byte order. Names are those of
        the file; of nested dicts and lists joined by dots.
      values: what was beside the tensors: numbers, strings, lists of them, None; by dotted names. `config.json` is the text
        of that file, if one lies beside that describes a model of Hugging Face's.
      stubs: objects of other programs by the dotted name of their place: their class, and what they were made with.
    """

    path: Path
    format: str
    sha256: str
    tensors: dict[str, np.ndarray]
    values: dict[str, Any]
    stubs: dict[str, Recorded]


def read_foreign(path: str | Path, limits: Limits | None = None) -> Foreign:
    """Reads the tensors of a file, or of a folder as Hugging Face has it, and runs nothing of it.

    Args:
      path: a regular file, or a folder with `config.json` and weights in one file or several.
      limits: what reading may cost; None = the defaults.

    Raises:
      ForeignError: one line: the file, what is wrong, what would be right.
      ImportError: the file is HDF5 and h5py is absent.
    """
    path = Path(path)
    if path.is_dir():
        return _folder(path, limits)
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
    return Foreign(path, form, hashlib.sha256(data).hexdigest(), tensors, values | config_beside(path), stubs)


# -- folders of Hugging Face -------------------------------------------------------------------


CONFIG = "config.json"  # the entry of `values` with the text of that file
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # in the order in which they are looked for
INDEX = ".index.json"  # behind such a name: which tensor is in which of several files


def config_beside(path: Path) -> dict[str, Any]:
    """`{"config.json": its text}` where the file beside a file of weights describes a model of Hugging Face's."""
    file = path.parent / CONFIG
    try:
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
    except (OSError, UnicodeDecodeError):
        return {}
    return {CONFIG: text} if '"model_type"' in text else {}


def _folder(folder: Path, limits: Limits | None) -> Foreign:
    """The weights of a folder: those of one file, or of all that an index names."""
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return dataclasses.replace(read_foreign(folder / name, limits), path=folder.resolve())
        if (folder / f"{name}{INDEX}").is_file():
            return _sharded(folder, folder / f"{name}{INDEX}", limits)
    raise ForeignError(
        f"{folder}: a folder without {' or '.join(WEIGHT_FILES)} or an index of several; name a file of weights, or a folder as "
        "Hugging Face has it"
    )


def _sharded(folder: Path, index: Path, limits: Limits | None) -> Foreign:
    """The weights in several files; the sum over the folder is that of the sums of the files."""
    places = field_of(read_document(index, ForeignError), "weight_map", dict, str(index), ForeignError)
    for tensor, name in places.items():
        if not isinstance(name, str) or Path(name).name != name:
            raise ForeignError(f"{index}: {tensor!r} is in {show(name)}, which is no name of a file beside it")
    files = {}
    for name in sorted({*places.values()}):
        if not (folder / name).is_file():
            raise ForeignError(
                f"{folder} lacks {name}, where {index.name} has {_first(places, name)!r}; fetch it again"
            )
        files[name] = read_foreign(folder / name, limits)
    tensors = {}
    for tensor, name in places.items():
        if tensor not in files[name].tensors:
            raise ForeignError(
                f"{folder / name} lacks {tensor!r}, which {index.name} has there; the files are not of one model"
            )
        tensors[tensor] = files[name].tensors[tensor]
    for name, file in files.items():
        if extra := [tensor for tensor in file.tensors if places.get(tensor) != name]:
            raise ForeignError(f"{folder / name} holds {extra[0]!r}, which {index.name} does not have there")
    total = hashlib.sha256("".join(file.sha256 for file in files.values()).encode()).hexdigest()
    form = f"{next(iter(files.values())).format}, {len(files)} files"
    return Foreign(folder.resolve(), form, total, tensors, config_beside(index), {})


def _first(places: dict[str, str], name: str) -> str:
    return next(tensor for tensor, place in places.items() if place == name)


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
        raise ForeignError("an index of weights in several files; name the folder that they lie in")
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
