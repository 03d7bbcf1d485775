"""Files of named arrays: `.npy`, `.npz` and safetensors."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np

from gan_jax.interop.foreign.archive import MIB, Archive, Budget, ForeignError, show
from gan_jax.interop.foreign.pickles import Cursor
from gan_jax.interop.foreign.tensors import BY_NAME, array_of, checked_shape, numpy_dtype

# ----------------------------------------------------------------------------------------------------------------------
# NumPy's own files, `.npy` and `.npz`: arrays of numbers; arrays of objects are pickles and refused.

MAGIC = b"\x93NUMPY"
LONGEST_NPY_HEADER = 10_000
# The header is a Python dict; it is matched, not evaluated
_HEADER = re.compile(
    r"\{\s*'descr':\s*'([^']{1,12})',\s*'fortran_order':\s*(True|False),\s*"
    r"'shape':\s*\(((?:\d{1,19}L?(?:,\s*|(?=\))))*)\),?\s*\}\s*"
)


def is_npz(archive: Archive) -> bool:
    """Whether an archive holds arrays of NumPy and nothing else."""
    return bool(archive.names) and all(name.endswith(".npy") for name in archive.names)


def read_npz(archive: Archive, budget: Budget) -> dict[str, np.ndarray]:
    """`{name: array}` in the order of the archive.

    Raises:
      ForeignError: an array of objects or records, or a damaged one.
    """
    arrays = {}
    for name in archive.names:
        budget.item(chars=len(name))
        try:
            arrays[name.removesuffix(".npy")] = read_npy(archive.read(name))
        except ForeignError as error:
            raise ForeignError(f"{show(name)}: {error}") from error
    return arrays


def read_npy(data: memoryview) -> np.ndarray:
    """The array of one `.npy`, over the same memory.

    Raises:
      ForeignError: an array of objects or records, or a damaged one.
    """
    cursor = Cursor(data)
    if cursor.take(6) != MAGIC:
        raise ForeignError("no NumPy array: its first bytes are others")
    major, _ = cursor.take(2)
    if major not in (1, 2, 3):
        raise ForeignError(f"a NumPy array of format {major}; 1 to 3 are known")
    length = cursor.number("<H" if major == 1 else "<I")
    if length > LONGEST_NPY_HEADER:
        raise ForeignError(f"a NumPy header of {length:,} bytes; an array of numbers needs some 100")
    text = cursor.take(length).decode("latin1" if major < 3 else "utf-8")
    header = _HEADER.fullmatch(text)
    if header is None:
        raise ForeignError(f"a NumPy header that describes no plain array of numbers: {show(text.strip())}")
    if re.fullmatch(r"[|<]V\d+", header[1]):
        raise ForeignError(
            f"an array of raw bytes ({header[1]}): NumPy loses the type of bfloat16 and float8; save it as float32"
        )
    shape = tuple(int(n.removesuffix("L")) for n in re.split(r",\s*", header[3]) if n)
    return array_of(cursor.view(len(data) - cursor.at), numpy_dtype(header[1]), shape, header[2] == "True")


# ----------------------------------------------------------------------------------------------------------------------
# safetensors files: a length, a JSON header, then the bytes of all tensors without a gap between them.

LONGEST_HEADER = 8 * MIB  # some 60,000 tensors
DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
    "C64": "complex64", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
}  # fmt: skip


def is_safetensors(data: bytes) -> bool:
    """Whether a file begins like one: a length that fits into it, and `{`."""
    return 10 <= len(data) and data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data) - 8


def read_safetensors(data: bytes, budget: Budget) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """`({name: array}, metadata)` in the order of the header.

    Raises:
      ForeignError: tensors that overlap, lie outside the file or leave a gap; a header that is none.
    """
    cursor = Cursor(memoryview(data))
    length = cursor.number("<Q")
    if length > LONGEST_HEADER:
        raise ForeignError(f"a safetensors header of {length:,} bytes; at most {LONGEST_HEADER:,} are read")
    try:
        header = json.loads(cursor.take(length).decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        if isinstance(error, ForeignError):
            raise
        raise ForeignError("a safetensors header that is no JSON: damaged, copy it again") from error
    metadata = (header.pop("__metadata__", None) or {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict):
        raise ForeignError("a safetensors header that is no table of tensors: damaged, or made up")
    body, spans, tensors = memoryview(data)[cursor.at :], [], {}
    for name, entry in header.items():
        budget.item(chars=len(name))
        begin, end, array = _tensor(name, entry, body)
        spans.append((begin, end, name))
        tensors[name] = array
    reached = 0
    for begin, end, name in sorted(spans):
        if begin != reached:
            what = "overlaps another" if begin < reached else "leaves a gap before it"
            raise ForeignError(
                f"safetensors tensor {show(name)} {what} (bytes {begin:,} to {end:,}): damaged, or made up"
            )
        reached = end
    if reached != len(body):
        raise ForeignError(f"a safetensors file of {len(body):,} bytes for {reached:,} of tensors: damaged, or made up")
    return tensors, {f"__metadata__.{key}": value for key, value in metadata.items()}


def _tensor(name: str, entry: Any, body: memoryview) -> tuple[int, int, np.ndarray]:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(n) is int for n in offsets):
        raise ForeignError(f"safetensors tensor {show(name)} without two data_offsets: damaged, or made up")
    begin, end = offsets
    if not 0 <= begin <= end <= len(body):
        raise ForeignError(
            f"safetensors tensor {show(name)} lies at bytes {show(begin)} to {show(end)} of {len(body):,}: cut, or made up"
        )
    if entry.get("dtype") not in DTYPES:
        raise ForeignError(
            f"safetensors tensor {show(name)} of type {show(entry.get('dtype'))}; known are {', '.join(DTYPES)}"
        )
    shape, dtype = checked_shape(entry.get("shape"), f"tensor {show(name)}"), BY_NAME[DTYPES[entry["dtype"]]]
    if math.prod(shape) * dtype.itemsize != end - begin:
        raise ForeignError(
            f"safetensors tensor {show(name)} of {end - begin:,} bytes for {dtype}{list(shape)}: made up"
        )
    return begin, end, array_of(body[begin:end], dtype.newbyteorder("<") if dtype.isbuiltin == 1 else dtype, shape)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    header = dict(pairs)
    if len(header) != len(pairs):
        raise ForeignError("a safetensors header that names a tensor twice: damaged, or made up")
    return header
