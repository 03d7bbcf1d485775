"""Files of `torch.save` before torch 1.6: five pickles after each other, then the storages.

A tensor in a plain pickle (`pickle.dump` of a dict of tensors, NVlabs' network pickles) is such a file of its own.
"""

from __future__ import annotations

from typing import Any

from gan_jax.interop.foreign.allowed import ALLOWED
from gan_jax.interop.foreign.limits import Budget, ForeignError, show
from gan_jax.interop.foreign.literals import Cursor
from gan_jax.interop.foreign.machine import Machine
from gan_jax.interop.foreign.stubs import Ours
from gan_jax.interop.foreign.tensors import Storage, storage_type
from gan_jax.interop.foreign.unpickle import unpickle

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
