"""NumPy's own files, `.npy` and `.npz`: arrays of numbers; arrays of objects are pickles and refused."""

from __future__ import annotations

import re

import numpy as np

from gan_jax.interop.foreign.archive import Archive
from gan_jax.interop.foreign.arrays import array_of
from gan_jax.interop.foreign.dtypes import numpy_dtype
from gan_jax.interop.foreign.limits import Budget, ForeignError, show
from gan_jax.interop.foreign.literals import Cursor

MAGIC = b"\x93NUMPY"
LONGEST_HEADER = 10_000
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
    if length > LONGEST_HEADER:
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
