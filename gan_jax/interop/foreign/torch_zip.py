"""Files of `torch.save` since torch 1.6: a zip archive with one pickle and the storages beside it."""

from __future__ import annotations

from typing import Any

from gan_jax.interop.foreign.allowed import ALLOWED
from gan_jax.interop.foreign.archive import Archive
from gan_jax.interop.foreign.dtypes import swapped
from gan_jax.interop.foreign.limits import Budget, ForeignError, show
from gan_jax.interop.foreign.literals import Cursor
from gan_jax.interop.foreign.tensors import Storage, storage_type
from gan_jax.interop.foreign.torch_legacy import NESTED
from gan_jax.interop.foreign.unpickle import unpickle

PICKLE = "data.pkl"


def root_of(names: list[str]) -> str | None:
    """The archive's one folder, `archive/`, by its pickle; None where it is no archive of torch."""
    roots = [name.removesuffix(PICKLE) for name in names if name.endswith(f"/{PICKLE}") and name.count("/") == 1]
    return roots[0] if len(roots) == 1 else None


def read_torch_zip(archive: Archive, budget: Budget) -> Any:
    """The pickled object, with `Tensor`s in it.

    Raises:
      ForeignError: the archive or its pickle is damaged, or asks for what no file of weights needs.
    """
    root = root_of(archive.names)
    if root is None:
        raise ForeignError(f"a zip archive without one FOLDER/{PICKLE}, where torch keeps what the tensors are called")
    order = bytes(archive.read(f"{root}byteorder")).strip() if f"{root}byteorder" in archive.members else b"little"
    if order not in (b"little", b"big"):
        raise ForeignError(f"a torch archive of the byte order {show(order)}; it is little or big")
    storages: dict[str, Storage] = {}

    def persistent(pid: Any) -> Storage:
        if not isinstance(pid, tuple) or len(pid) != 5 or pid[0] != "storage":
            raise ForeignError("refers to something beside it that is no storage: damaged, or made up")
        dtype, key, count = storage_type(pid[1]).dtype, pid[2], pid[4]
        if not isinstance(key, str) or type(count) is not int or not 0 <= count < 2**60:
            raise ForeignError(f"a storage named {show(key)} of {show(count)} values: damaged, or made up")
        if key not in storages:
            storages[key] = Storage(
                key, dtype, _once(lambda: _bytes(archive, f"{root}data/{key}", dtype, count, order))
            )
        elif storages[key].dtype != dtype:
            raise ForeignError(f"storage {show(key)} is of two types: damaged, or made up")
        return storages[key]

    cursor = Cursor(archive.read(f"{root}{PICKLE}"))
    value = unpickle(cursor, budget, {**ALLOWED, **NESTED}, persistent)
    if cursor.at != len(cursor.data):
        raise ForeignError(f"its {PICKLE} goes on after its end: damaged, or made up")
    return value


def _once(read: Any) -> Any:
    """Wraps a function so that it does its work once."""
    kept: list[memoryview] = []

    def raw() -> memoryview:
        if not kept:
            kept.append(read())
        return kept[0]

    return raw


def _bytes(archive: Archive, name: str, dtype: Any, count: int, order: bytes) -> memoryview:
    raw = archive.read(name)
    size = dtype.itemsize if dtype is not None else 1
    if len(raw) != count * size:
        raise ForeignError(
            f"{show(name)} has {len(raw):,} bytes, and {count:,} values of {size} are announced: cut, or made up"
        )
    if order == b"big" and dtype is not None and size > 1:
        archive.budget.charge(len(raw), "its storages")
        return swapped(raw, dtype)
    if order == b"big" and dtype is None:
        raise ForeignError("a big-endian archive of untyped storages; save it on a little-endian machine")
    return raw
