"""NumPy arrays as pickles spell them, built without NumPy's own unpickling: only numbers and fixed strings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gan_jax.interop.foreign.dtypes import BY_NAME, numpy_dtype
from gan_jax.interop.foreign.limits import Budget, ForeignError, show
from gan_jax.interop.foreign.stubs import Ours

if TYPE_CHECKING:
    from gan_jax.interop.foreign.machine import Machine

MOST_AXES = 32


def checked_shape(shape: Any, what: str = "an array") -> tuple[int, ...]:
    """A tuple of sizes, each a whole number from 0 up."""
    sizes = shape if isinstance(shape, list | tuple) else ()
    if (
        not isinstance(shape, list | tuple)
        or len(sizes) > MOST_AXES
        or not all(type(n) is int and n >= 0 for n in sizes)
    ):
        raise ForeignError(f"{what} has no shape but {show(shape)}: damaged, or made up")
    return tuple(sizes)


def array_of(raw: Any, dtype: np.dtype, shape: Sequence[int], fortran: bool = False) -> np.ndarray:
    """An array over bytes that are there already; the number of bytes must be that of the shape."""
    need, have = math.prod(shape) * dtype.itemsize, len(raw)
    if need != have:
        raise ForeignError(
            f"an array {dtype}{list(shape)} of {have:,} bytes, which needs {need:,}: damaged, or made up"
        )
    if not need:
        return np.zeros(shape, dtype)
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran else "C")


class DtypeShell:
    """`numpy.dtype('f4', False, True)`, whose byte order comes later."""

    def __init__(self, dtype: np.dtype) -> None:
        """A shell of a dtype in this machine's byte order."""
        self.dtype = dtype

    def set_state(self, state: Any, budget: Budget) -> None:
        """`(3, '<', None, None, None, -1, -1, 0)`: version, byte order, no part, no names, no fields.."""
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise ForeignError("an array of records or of parts; weights are numbers")
        order = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "="):
            raise ForeignError(f"an array of the byte order {show(order)}: damaged, or made up")
        if order in "<>" and self.dtype.kind in "iufcU" and self.dtype.itemsize > 1:
            self.dtype = self.dtype.newbyteorder(order)


class ArrayShell:
    """An array whose state comes later."""

    def __init__(self) -> None:
        """A shell without values yet."""
        self.values: np.ndarray | None = None

    def set_state(self, state: Any, budget: Budget) -> None:
        """`(version, shape, dtype, is_fortran, bytes)`, of old without the version."""
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise ForeignError("an array whose state is no tuple of 5: damaged, or made up")
        shape, dtype, fortran, raw = state[-4:]
        if not isinstance(dtype, DtypeShell):
            raise ForeignError(f"an array of the type {show(dtype)}; weights are numbers")
        self.values = array_of(_bytes(raw, budget), dtype.dtype, checked_shape(shape), bool(fortran))

    @property
    def array(self) -> np.ndarray:
        """The array."""
        if self.values is None:
            raise ForeignError("an array that was never given its values: damaged, or made up")
        return self.values


def _bytes(raw: Any, budget: Budget) -> bytes:
    """The bytes of an array; those of Python 2 came as a string."""
    if isinstance(raw, str):
        budget.charge(len(raw), "its arrays")
        return raw.encode("latin1")
    if not isinstance(raw, bytes):
        raise ForeignError(f"an array whose values are no bytes but {show(raw)}; an array of objects is not read")
    return raw


def _reconstruct(machine: Machine, cls: Any, shape: Any, kind: Any) -> ArrayShell:
    if cls is not NDARRAY:
        raise ForeignError(f"an array of the class {show(str(cls))}; plain arrays are read, save numpy.asarray(it)")
    return ArrayShell()


def _dtype(machine: Machine, spelling: Any, *more: Any) -> DtypeShell:
    return DtypeShell(spelling.dtype if isinstance(spelling, DtypeShell) else numpy_dtype(spelling))


def _scalar(machine: Machine, dtype: Any, raw: Any = b"") -> Any:
    if not isinstance(dtype, DtypeShell):
        raise ForeignError(f"a number of the type {show(dtype)}; weights are numbers")
    machine.budget.charge(dtype.dtype.itemsize, "its numbers")
    return array_of(_bytes(raw, machine.budget), dtype.dtype, ())[()]


def _frombuffer(machine: Machine, raw: Any, dtype: Any, shape: Any, order: Any) -> ArrayShell:
    shell = ArrayShell()
    shell.set_state((shape, dtype, order == "F", raw), machine.budget)
    return shell


NDARRAY = Ours("numpy.ndarray", lambda machine, *args: _refused())


def _refused() -> Any:
    raise ForeignError("makes an array in a way that NumPy's own files do not: damaged, or made up")


_CORES = ("numpy.core", "numpy._core")
ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): NDARRAY,
    ("numpy", "dtype"): Ours("numpy.dtype", _dtype),
    **{(f"{core}.multiarray", "_reconstruct"): Ours("numpy._reconstruct", _reconstruct) for core in _CORES},
    **{(f"{core}.multiarray", "scalar"): Ours("numpy.scalar", _scalar) for core in _CORES},
    **{(f"{core}.numeric", "_frombuffer"): Ours("numpy._frombuffer", _frombuffer) for core in _CORES},
    # the spelling of arrays of these types; `dtype` gets them as its argument
    **{("ml_dtypes", name): DtypeShell(dtype) for name, dtype in BY_NAME.items() if dtype.type.__module__ == "ml_dtypes"},
}  # fmt: skip
