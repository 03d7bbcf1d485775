"""The number formats that weights come in: names in, NumPy dtypes out. No objects, no records."""

from __future__ import annotations

import re

import ml_dtypes
import numpy as np

from gan_jax.interop.foreign.limits import ForeignError, show

# NumPy spellings: byte order, kind, size
_SIZES = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8), "c": (8, 16)}
_SPELLING = re.compile(r"([<>|=]?)([biufcSU])([0-9]{1,6})")
LONGEST_TEXT = 65_536  # characters of one entry in an array of strings

# Names that torch, safetensors and ml_dtypes share
BY_NAME: dict[str, np.dtype] = {
    name: np.dtype(getattr(ml_dtypes, name, None) or name)
    for name in (
        "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16",
        "uint8", "bool", "complex64", "complex128", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz",
        "float8_e5m2fnuz",
    )
}  # fmt: skip


def numpy_dtype(spelling: object) -> np.dtype:
    """The dtype of `<f4`, `i8`, `|b1`, `S5`..

    Raises:
      ForeignError: objects, records, dates, or nothing that NumPy spells so.
    """
    if isinstance(spelling, str | bytes):
        text = spelling.decode("latin1") if isinstance(spelling, bytes) else spelling
        match = _SPELLING.fullmatch(text)
        if match:
            order, kind, size = match[1], match[2], int(match[3])
            if size in _SIZES.get(kind, ()) or (kind in "SU" and size <= LONGEST_TEXT):
                return np.dtype(f"{order}{kind}{size}")
        if text in BY_NAME:
            return BY_NAME[text]
        if re.fullmatch(r"[|<>=]?O8?|object_?", text):
            raise ForeignError("an array of Python objects; save arrays of numbers only")
    raise ForeignError(f"an array of the type {show(spelling)}; weights are numbers of 1 to 16 bytes")


def native(array: np.ndarray) -> np.ndarray:
    """The same values in this machine's byte order, contiguous in C order; of the same memory where it can be."""
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if not array.flags.c_contiguous or not array.flags.aligned:
        array = np.array(array, order="C")
    return array


def swapped(raw: memoryview, dtype: np.dtype) -> memoryview:
    """Bytes of numbers in the other byte order, turned around; both halves of a complex number by themselves."""
    width = dtype.itemsize // 2 if dtype.kind == "c" else dtype.itemsize
    return memoryview(np.frombuffer(raw, f"u{width}").byteswap().tobytes())
