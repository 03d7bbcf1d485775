"""HDF5 files of Keras: `model.save_weights("x.h5")`, whole models, Keras 3's `.weights.h5`, and plain ones of arrays.

The HDF5 library itself, in C, reads the file's structure here: the one format whose bytes other code than ours parses.
It gets them from memory, through functions of Python's, so that it opens no file at all: neither what a link names nor
one of the current folder that is called as an image in memory is.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gan_jax.extras import require
from gan_jax.interop.foreign.archive import Budget, ForeignError, show
from gan_jax.interop.foreign.tensors import BY_NAME

MAGIC = b"\x89HDF\r\n\x1a\n"
FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}  # others are plug-ins: code from elsewhere
RAW = {name: dtype for name, dtype in BY_NAME.items() if dtype.type.__module__ == "ml_dtypes"}
LONGEST_TEXT = 2**24  # bytes of an attribute; the layout of a model is one, as JSON


def read_h5(data: bytes, budget: Budget) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """`({path: array}, {attribute: value})`; paths as in the file, layers in the order that Keras notes.

    Raises:
      ForeignError: no weights are in it, it is damaged, or it leads to other files or to code.
      ImportError: h5py is absent.
    """
    h5py = require("h5py", extra="h5")
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            tensors = _Walk(h5py, budget).walk(file)
            values = {name: _text(file, name, budget) for name in list(file.attrs)[:100]}
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, UnicodeError) as error:
        if isinstance(error, ForeignError):
            raise
        raise ForeignError(f"a damaged HDF5 file ({str(error)[:100]}): copy it again") from error
    if not any(array.dtype.kind in "fcV" for array in tensors.values()):  # V: those of ml_dtypes
        raise ForeignError(
            "an HDF5 file without arrays of floats: it holds no weights; Keras' save_weights writes some"
        )
    return tensors, {name: value for name, value in values.items() if value is not None}


class _Walk:
    def __init__(self, h5py: Any, budget: Budget) -> None:
        self.h5py, self.budget = h5py, budget
        self.datasets: dict[str, np.ndarray] = {}
        self.visited: set[Any] = set()

    def walk(self, group: Any, path: str = "", depth: int = 0, first: Sequence[str] = ()) -> dict[str, np.ndarray]:
        """All datasets of a group, and of those in it; `first` are the paths from here that come first."""
        self.budget.deep(depth)
        first = [*first, *self.listed(group)]
        self.budget.item(len(first))
        below: dict[str, list[str]] = {}
        for head, _, rest in (listed.partition("/") for listed in first):
            below.setdefault(head, []).append(rest)
        for name in self.order(group, list(below)):
            here = f"{path}/{name}" if path else name
            self.budget.item(chars=len(here))
            if not isinstance(group.get(name, getlink=True), self.h5py.HardLink):
                raise ForeignError(f"{show(here)} is a link to another place or file; weights lie in the file itself")
            child = group[name]
            identity = self.h5py.h5o.get_info(child.id).addr
            if identity in self.visited:
                raise ForeignError(
                    f"{show(here)} is in the file twice (a hard link, or a group in itself); save each array under one name"
                )
            self.visited.add(identity)
            if isinstance(child, self.h5py.Group):
                self.walk(child, here, depth + 1, below.get(name, ()))
            elif isinstance(child, self.h5py.Dataset):
                self.dataset(here, child)
        return self.datasets

    def listed(self, group: Any) -> list[str]:
        """The paths in a group that Keras lists, in its order."""
        lists = (_text(group, name, self.budget) for name in ("layer_names", "weight_names") if name in group.attrs)
        return [text for texts in lists if isinstance(texts, list) for text in texts if isinstance(text, str)]

    def order(self, group: Any, heads: Sequence[str]) -> list[str]:
        """The children of a group, listed ones first."""
        numbers = lambda name: (0, int(name)) if name.isdigit() and len(name) < 9 else (1, 0)
        children = sorted(group, key=numbers)  # Keras 3 names a layer's weights 0, 1, .. 10
        return list(dict.fromkeys([*(name for name in heads if name in group), *children]))

    def dataset(self, name: str, dataset: Any) -> None:
        """One array, if it is one of numbers."""
        if dataset.external or dataset.is_virtual:
            raise ForeignError(f"{show(name)} keeps its values in another file; weights lie in the file itself")
        dtype = _dtype(name, dataset, self.budget)
        if dtype is None:
            return
        creation = dataset.id.get_create_plist()
        for i in range(creation.get_nfilters()):
            if (code := creation.get_filter(i)[0]) not in FILTERS:
                raise ForeignError(f"{show(name)} is packed by filter {code}, a plug-in; repack it by gzip")
        if dataset.shape is None:
            return
        self.budget.charge(math.prod(dataset.shape) * dtype.itemsize, f"array {show(name)}")
        if dataset.chunks:
            self.budget.charge(math.prod(dataset.chunks) * dtype.itemsize, f"a chunk of array {show(name)}")
        array = np.asarray(dataset[()])
        # h5py gives what it has no type for as raw bytes
        self.datasets[name] = (
            array if array.dtype.kind != "V" else np.frombuffer(array.tobytes(), dtype).reshape(array.shape)
        )


def _dtype(name: str, dataset: Any, budget: Budget) -> np.dtype | None:
    """The type of an array of numbers; None of one that holds other things.

    Raises:
      ForeignError: raw bytes of which nothing says that they are bfloat16 or float8, or numbers of a size that no weights
        have.
    """
    try:
        dtype: np.dtype = dataset.dtype
    except TypeError as error:
        raise ForeignError(
            f"{show(name)} is of numbers that h5py does not read ({error}); save it as float32"
        ) from error
    if dtype.kind == "V" and dtype.names is None and dtype.itemsize <= 2:
        spelled = _text(dataset, "dtype", budget) if "dtype" in dataset.attrs else None
        if isinstance(spelled, str) and spelled in RAW and RAW[spelled].itemsize == dtype.itemsize:
            return RAW[spelled]
        likely = "bfloat16" if dtype.itemsize == 2 else "float8"
        raise ForeignError(
            f"{show(name)} is of raw bytes, {dtype.itemsize} for each value, as h5py writes {likely}, and no attribute "
            "'dtype' says of which type; save it as float32"
        )
    if dtype.kind == "f" and dtype.itemsize > 8 or dtype.kind == "c" and dtype.itemsize > 16:
        raise ForeignError(f"{show(name)} is of {dtype.name}, which no weights are; save it as float32")
    return dtype if dtype.kind in "biufc" else None


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.item() if isinstance(value, np.generic) else value


def _text(holder: Any, name: str, budget: Budget) -> Any:
    """An attribute of a string, a number, or a list of them; None for any other, and for too long a one."""
    attribute = holder.attrs.get_id(name)
    count = math.prod(attribute.shape or ())
    # Strings of any length lie elsewhere in the file, and all of a list may be the same long one
    size = count * (attribute.dtype.itemsize if attribute.dtype.kind != "O" else budget.file_bytes)
    if size > max(LONGEST_TEXT, budget.file_bytes):
        return None
    budget.item(count)
    budget.charge(size, f"attribute {show(name)}")
    value = holder.attrs[name]
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(v) for v in value]
    value = _plain(value)
    return value if isinstance(value, str | int | float | bool) else None
