"""Files of named tensors, by their endings: safetensors, npz, and those of `torch.save`, written without torch."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.files import replace
from gan_jax.interop.source import not_held, write_safetensors

# ----------------------------------------------------------------------------------------------------------------------
# Writes the zip file of `torch.save` without torch: tensors in dicts, as `torch.load(weights_only=True)` reads them.
#
# Its `data.pkl` is written opcode by opcode. It can only name `collections.OrderedDict`, `torch._utils._rebuild_tensor_v2`
# and torch's storage types, which is all that a state dict is made of.

STORAGES = {
    "float64": "DoubleStorage", "float32": "FloatStorage", "float16": "HalfStorage", "bfloat16": "BFloat16Storage",
    "int64": "LongStorage", "int32": "IntStorage", "int16": "ShortStorage", "int8": "CharStorage",
    "uint8": "ByteStorage", "bool": "BoolStorage",
}  # fmt: skip
FOLDER = "archive"
DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip can say: equal tensors make equal files
ALIGNED = 64  # bytes: where a tensor's bytes may begin, so that a file can be mapped


def write_torch_file(path: str | Path, state: Mapping[str, Any]) -> None:
    """Writes nested dicts of arrays, `{"g_ema": {"conv1.weight": array}}`; the inner ones become `OrderedDict`.

    Raises:
      ValueError: an array of a dtype that torch has no storage for.
    """
    arrays: list[np.ndarray] = []
    body = b"\x80\x02" + _dict(state, arrays, inner=False) + b"."
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        put = lambda name, data: archive.writestr(_info(archive, f"{FOLDER}/{name}"), data)
        put("data.pkl", body)
        put("byteorder", b"little")
        for i, array in enumerate(arrays):
            put(f"data/{i}", array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
        put("version", b"3\n")


def _info(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, DATE)
    assert archive.fp is not None
    at = archive.fp.tell() + 30 + len(name) + 4  # of its bytes: behind the local header, the name, and this field
    pad = -at % ALIGNED
    info.extra = struct.pack("<2sH", b"FB", pad) + b"Z" * pad
    return info


def _dict(entries: Mapping[str, Any], arrays: list[np.ndarray], *, inner: bool) -> bytes:
    empty = _global("collections", "OrderedDict") + b")R" if inner else b"}"
    pairs = b"".join(_text(name) + _value(value, arrays) for name, value in entries.items())
    return empty + b"(" + pairs + b"u"


def _value(value: Any, arrays: list[np.ndarray]) -> bytes:
    return _dict(value, arrays, inner=True) if isinstance(value, Mapping) else _tensor(np.asarray(value), arrays)


def _tensor(array: np.ndarray, arrays: list[np.ndarray]) -> bytes:
    if str(array.dtype) not in STORAGES:
        raise ValueError(f"torch has no storage for {array.dtype}; it has them for {', '.join(STORAGES)}")
    key = str(len(arrays))
    arrays.append(array)  # `tobytes` writes it row by row, whatever its strides
    kind = _global("torch", STORAGES[str(array.dtype)])
    storage = _tuple([_text("storage"), kind, _text(key), _text("cpu"), _number(array.size)]) + b"Q"
    strides = [int(np.prod(array.shape[i + 1 :])) for i in range(array.ndim)]
    sizes = [_tuple([_number(n) for n in numbers]) for numbers in (array.shape, strides)]
    hooks = _global("collections", "OrderedDict") + b")R"
    return _global("torch._utils", "_rebuild_tensor_v2") + _tuple([storage, _number(0), *sizes, b"\x89", hooks]) + b"R"


def _tuple(parts: list[bytes]) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def _text(text: str) -> bytes:
    data = text.encode("utf-8")
    return b"X" + struct.pack("<I", len(data)) + data


def _number(number: int) -> bytes:
    if number < 2**31:
        return b"J" + struct.pack("<i", number)
    data = number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


# ----------------------------------------------------------------------------------------------------------------------
# The writers, by the ending of a file.

Tensors = dict[str, np.ndarray]
# (path, tensors, facts for formats that can carry them, beginnings of names that are keys of a torch file's dict)
Writer = Callable[[Path, Tensors, Mapping[str, Any], tuple[str, ...]], None]


class ExportError(ValueError):
    """A pair that cannot be written as asked; the message says what can."""


def writer_for(path: Path) -> Writer:
    """The writer of a file's ending.

    Raises:
      ExportError: there is none.
    """
    if path.suffix == ".pkl":
        raise ExportError(
            f"{path}: a .pkl of NVIDIA's repositories holds the source code of its networks, and none is written; "
            f"write .pt, .safetensors or .npz, and load that into their network with load_state_dict"
        )
    if path.suffix not in WRITERS:
        raise ExportError(f"{path} has none of the known endings {', '.join(WRITERS)}")
    return WRITERS[path.suffix]


def _check_dtypes(path: Path, tensors: Tensors) -> None:
    """Refuses what no reader of these files gives back: float8, complex numbers."""
    if odd := not_held(tensors):
        raise ExportError(f"{path}: {odd!r} is {tensors[odd].dtype.name}; cast it to float32 or bfloat16 first")


def _write_safetensors(path: Path, tensors: Tensors, facts: Mapping[str, Any], nested: tuple[str, ...]) -> None:
    _check_dtypes(path, tensors)
    text = {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items() if value}
    replace(path, lambda part: write_safetensors(part, tensors, tensors.__getitem__, {"format": "pt", **text}))


def _write_npz(path: Path, tensors: Tensors, facts: Mapping[str, Any], nested: tuple[str, ...]) -> None:
    _check_dtypes(path, tensors)
    if odd := [name for name, array in tensors.items() if array.dtype.kind == "V"]:
        raise ExportError(
            f"{path}: {odd[0]!r} is {tensors[odd[0]].dtype.name}, which npz files keep as raw bytes without its name; write "
            ".safetensors or .pt"
        )

    def write(part: Path) -> None:
        with open(part, "wb") as file:  # a path would get another ending
            np.savez(file, allow_pickle=False, **tensors)

    replace(path, write)


def _write_torch(path: Path, tensors: Tensors, facts: Mapping[str, Any], nested: tuple[str, ...]) -> None:
    _check_dtypes(path, tensors)
    state: dict[str, Any] = {}
    for name, array in tensors.items():
        first, _, rest = name.partition(".")
        if first in nested and rest:
            state.setdefault(first, {})[rest] = array
        else:
            state[name] = array
    replace(path, lambda part: write_torch_file(part, state))


WRITERS: dict[str, Writer] = {
    ".safetensors": _write_safetensors,
    ".npz": _write_npz,
    **dict.fromkeys((".pt", ".pth", ".ckpt"), _write_torch),
}
