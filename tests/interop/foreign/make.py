"""Writes the files of other programs by hand: their pickles name modules that are not installed here."""

from __future__ import annotations

import dataclasses
import io
import pickle
import struct
import zipfile
from typing import Any

import numpy as np

MAGIC, LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


@dataclasses.dataclass(eq=False)
class Global:
    """A class or function by its name."""

    module: str
    name: str


@dataclasses.dataclass(eq=False)
class Call:
    """The result of a call (REDUCE), with what is set and the state (BUILD) that follow."""

    function: Any
    args: tuple = ()
    state: Any = None
    pairs: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(eq=False)
class Persistent:
    """Something beside the pickle."""

    pid: Any


class Writer(pickle._Pickler):
    """Python's own pickler, which also writes the three above."""

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Global):
            self.write(b"c" + obj.module.encode() + b"\n" + obj.name.encode() + b"\n")
        elif isinstance(obj, Persistent):
            self.save(obj.pid)
            self.write(b"Q")
        elif isinstance(obj, Call):
            if id(obj) in self.memo:
                self.write(self.get(self.memo[id(obj)][0]))
                return
            self.save(obj.function)
            self.save(obj.args)
            self.write(b"R")
            self.memoize(obj)
            for key, value in obj.pairs.items():
                self.save(key)
                self.save(value)
                self.write(b"s")
            if obj.state is not None:
                self.save(obj.state)
                self.write(b"b")
        else:
            super().save(obj, save_persistent_id)


def dumps(obj: Any, protocol: int = 2) -> bytes:
    file = io.BytesIO()
    Writer(file, protocol).dump(obj)
    return file.getvalue()


REBUILD = Global("torch._utils", "_rebuild_tensor_v2")
ORDERED = Global("collections", "OrderedDict")


def storage(key: str, kind: str, count: int, *, legacy: bool = False, part: Any = None) -> Persistent:
    pid = ("storage", Global("torch", f"{kind}Storage"), key, "cpu", count)
    return Persistent((*pid, part) if legacy else pid)


def tensor(store: Any, shape: tuple, strides: tuple | None = None, offset: int = 0) -> Call:
    if strides is None:
        strides = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
    return Call(REBUILD, (store, offset, shape, strides, False, Call(ORDERED)))


def torch_zip(obj: Any, storages: dict[str, bytes], *, folder: str = "archive", order: str | None = "little", **more):
    """A file of torch.save; `more` goes to ZipFile."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **more) as archive:
        archive.writestr(f"{folder}/data.pkl", obj if isinstance(obj, bytes) else dumps(obj))
        if order:
            archive.writestr(f"{folder}/byteorder", order)
        for key, raw in storages.items():
            archive.writestr(f"{folder}/data/{key}", raw)
        archive.writestr(f"{folder}/version", "3\n")
    return file.getvalue()


def torch_legacy(obj: Any, storages: dict[str, tuple[int, bytes]], little: bool = True) -> bytes:
    """A file of torch.save before 1.6; storages are `{key: (count, bytes)}`."""
    system = {"protocol_version": LEGACY_PROTOCOL, "little_endian": little, "type_sizes": {"short": 2}}
    head = b"".join(pickle.dumps(part, 2) for part in (MAGIC, LEGACY_PROTOCOL, system))
    tail = b"".join(struct.pack("<q", count) + raw for count, raw in storages.values())
    return head + dumps(obj) + pickle.dumps(list(storages), 2) + tail


def plain_tensor(values: np.ndarray) -> Call:
    """A tensor in a plain pickle: its storage is a legacy file of its own."""
    store = torch_legacy(storage("1", "Float", values.size, legacy=True), {"1": (values.size, values.tobytes())})
    return tensor(Call(Global("torch.storage", "_load_from_bytes"), (store,)), values.shape)


def module(name: str, parameters: dict, modules: dict | None = None, buffers: dict | None = None, **attributes) -> dict:
    """The `__dict__` of a torch module."""
    ordered = lambda entries: Call(ORDERED, pairs=entries)
    return {
        "training": False,
        "_parameters": ordered(parameters),
        "_buffers": ordered(buffers or {}),
        "_modules": ordered(modules or {}),
        **attributes,
    }


def persistent_network(name: str, state: dict, source: str, kwargs: dict | None = None) -> Call:
    """A network of NVlabs' torch pickles."""
    meta = {"type": "class", "version": 6, "module_src": source, "class_name": name,
            "state": {**state, "_init_args": (), "_init_kwargs": kwargs or {}}}  # fmt: skip
    return Call(Global("torch_utils.persistence", "_reconstruct_persistent_obj"), (meta,))
