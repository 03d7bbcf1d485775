"""Files of `torch.save`: the legacy format of five pickles, and the zip archive since torch 1.6."""

from __future__ import annotations

from typing import Any

from gan_jax.interop.foreign.archive import Archive, Budget, ForeignError, show
from gan_jax.interop.foreign.pickles import ALLOWED, Cursor, Machine, unpickle
from gan_jax.interop.foreign.tensors import Ours, Storage, storage_type, swapped

# ----------------------------------------------------------------------------------------------------------------------
# Files of `torch.save` before torch 1.6: five pickles after each other, then the storages.
#
# A tensor in a plain pickle (`pickle.dump` of a dict of tensors, NVlabs' network pickles) is such a file of its own.

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
HEAD = b"\x80\x02\x8a\x0a" + MAGIC.to_bytes(10, "little")  # how such a file begins


def read_torch_legacy(cursor: Cursor, budget: Budget, nested: int = 0) -> Any:
    """The pickled object, with `Tensor`s in it. The cursor stands behind the last storage then.

    Raises:
      ForeignError: damaged, of another machine, or it asks for what no file of weights needs.
    """
    plain = lambda: unpickle(cursor, budget, {})
    if plain() != MAGIC or plain() != PROTOCOL:
        raise ForeignError("begins like a file of torch, of a version that is not known; save it with a newer torch")
    system = plain()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ForeignError("a torch file of a big-endian machine; save it with torch 1.6 or newer")
    storages: dict[str, Storage] = {}

    def persistent(pid: Any) -> Any:
        if isinstance(pid, tuple) and len(pid) == 4 and pid[0] == "module":
            return pid[1]  # a class; its source, which comes along, is left where it is
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
            raise ForeignError("refers to something beside it that is no storage: damaged, or made up")
        return _storage(storages, pid)

    table = ALLOWED if nested else {**ALLOWED, **NESTED}
    value = unpickle(cursor, budget, table, persistent, nested)
    keys = plain()
    if not isinstance(keys, list):
        raise ForeignError("a torch file without its list of storages: damaged, or made up")
    filled: set[str] = set()
    for key in keys:
        if not isinstance(key, str) or key not in storages or key in filled:
            raise ForeignError(f"a torch file with a storage {show(key)} of no tensor, or twice: damaged, or made up")
        filled.add(key)
        storage, count = storages[key], cursor.number("<q")
        if not 0 <= count < 2**60:
            raise ForeignError(f"storage {show(key)} of {count:,} values: damaged, or made up")
        raw = cursor.view(count * (storage.dtype.itemsize if storage.dtype is not None else 1))
        storage.raw = lambda raw=raw: raw
    return value


def _storage(storages: dict[str, Storage], pid: tuple[Any, ...]) -> Storage:
    """A storage, or a part of one: `("storage", type, key, device, count, (key of the part, offset, count))`."""
    dtype, key, part = storage_type(pid[1]).dtype, pid[2], pid[5] if len(pid) == 6 else None
    if not isinstance(key, str):
        raise ForeignError(f"a storage named {show(key)}: damaged, or made up")
    whole = storages.setdefault(key, Storage(key, dtype, lambda: _absent(key)))
    if whole.dtype != dtype:
        raise ForeignError(f"storage {show(key)} is of two types: damaged, or made up")
    if part is None:
        return whole
    if not isinstance(part, tuple) or len(part) != 3 or not all(type(n) is int and 0 <= n < 2**60 for n in part[1:]):
        raise ForeignError(f"a part of storage {show(key)} without offset and size: damaged, or made up")
    size = dtype.itemsize if dtype is not None else 1
    return Storage(str(part[0]), dtype, lambda: whole.raw()[part[1] * size : (part[1] + part[2]) * size])


def _absent(key: str) -> Any:
    raise ForeignError(f"a torch file without the values of storage {show(key)}: cut, or made up")


def _load_from_bytes(machine: Machine, raw: Any) -> Any:
    if not isinstance(raw, bytes) or not raw.startswith(HEAD):
        raise ForeignError(f"a tensor in a plain pickle that is {show(raw)}; torch writes its older format there")
    cursor = Cursor(memoryview(raw))
    storage = read_torch_legacy(cursor, machine.budget, machine.nested + 1)
    if not isinstance(storage, Storage) or cursor.at != len(raw):
        raise ForeignError("a tensor in a plain pickle whose bytes are no storage: damaged, or made up")
    return storage


NESTED = {("torch.storage", "_load_from_bytes"): Ours("torch.storage._load_from_bytes", _load_from_bytes)}


# ----------------------------------------------------------------------------------------------------------------------
# Files of `torch.save` since torch 1.6: a zip archive with one pickle and the storages beside it.

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
