"""Arrays and tensors as pickles of NumPy and torch spell them, built without either's unpickling."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from gan_jax.interop.foreign.archive import Budget, ForeignError, show

if TYPE_CHECKING:
    from gan_jax.interop.foreign.pickles import Machine

# ----------------------------------------------------------------------------------------------------------------------
# The number formats that weights come in: names in, NumPy dtypes out. No objects, no records.

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


# ----------------------------------------------------------------------------------------------------------------------
# Records of the classes and functions that a file asks for and this library does not build.


@dataclasses.dataclass(frozen=True)
class StubClass:
    """A class or function of another program, by its name only."""

    module: str
    name: str

    def __str__(self) -> str:
        """`torch.nn.modules.conv.Conv2d`."""
        return f"{self.module}.{self.name}"


@dataclasses.dataclass(eq=False)
class Stub:
    """An object of such a class, or the result of such a function: what it was called with and what it was given.

    Attributes:
      cls: the class or function.
      args: of the call.
      kwargs: of the call.
      state: what its `__setstate__` would have been given; its `__dict__`, mostly.
      pairs: what was set by key, if it is a kind of dict.
      items: what was appended or added, if it is a kind of list or set.
    """

    cls: StubClass
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)
    state: Any = None
    pairs: dict[Any, Any] = dataclasses.field(default_factory=dict)
    items: list[Any] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Ours:
    """A function of ours that does what a foreign one would have done: `call(machine, *args)`."""

    name: str
    call: Callable[..., Any]


# No stub runs anything, whatever its name. A file that asks for one of these still is no file of weights, and its
# reader should hear so. First packages, with all that is in them; then modules.
_PACKAGES = {
    "os", "importlib", "multiprocessing", "asyncio", "urllib", "http", "ctypes", "pip", "requests", "xmlrpc", "dill",
    "cloudpickle", "builtins", "__builtin__", "subprocess", "runpy", "shutil", "socket", "pty",
}  # fmt: skip
_MODULES = {
    "posix", "nt", "sys", "pickle", "_pickle", "cPickle", "marshal", "types", "code", "codeop", "webbrowser", "commands",
    "platform", "timeit", "pdb", "bdb", "cProfile", "profile", "site", "threading", "_thread", "signal", "tempfile",
    "pkgutil", "imp", "zipimport", "ftplib", "operator", "_operator", "copyreg", "copy_reg", "gc", "inspect", "_io", "io",
    "popen2", "_posixsubprocess", "_winapi", "ensurepip", "venv", "torch.hub",
}  # fmt: skip
_HARMLESS = {
    "types.SimpleNamespace",
    *(f"{module}.{name}" for module in ("builtins", "__builtin__") for name in (
        "int", "float", "str", "bool", "bytes", "object", "slice", "range", "NoneType", "long", "unicode", "xrange",
        "list", "tuple", "dict", "set", "frozenset", "complex", "bytearray", "Ellipsis", "NotImplemented", "type",
    )),
}  # fmt: skip
_NAME = re.compile(r"[\w.<>]+")
LONGEST_NAME = 300


def stub_class(module: str, name: str) -> StubClass:
    """The record of a class.

    Raises:
      ForeignError: it is one by which code is run, or has no name of a class.
    """
    whole = f"{module[: LONGEST_NAME + 1]}.{name[: LONGEST_NAME + 1]}"
    if len(module) > LONGEST_NAME or len(name) > LONGEST_NAME or not _NAME.fullmatch(whole):
        raise ForeignError(f"asks for {show(whole)}, which is no name of a class: damaged, or no pickle")
    inner = name.split(".")[:-1]  # of a dotted name
    if whole not in _HARMLESS and (
        module in _MODULES or module.split(".")[0] in _PACKAGES or any(part in _MODULES | _PACKAGES for part in inner)
    ):
        raise ForeignError(
            f"asks for {show(whole)}, by which code is run: it may be an attack, and nothing of it was run; "
            "files of weights ask for tensors only"
        )
    return StubClass(module, name)


# ----------------------------------------------------------------------------------------------------------------------
# NumPy arrays as pickles spell them, built without NumPy's own unpickling: only numbers and fixed strings.

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


NDARRAY = Ours("numpy.ndarray", lambda machine, *args: _refused_array())


def _refused_array() -> Any:
    raise ForeignError("makes an array in a way that NumPy's own files do not: damaged, or made up")


_CORES = ("numpy.core", "numpy._core")
ARRAY_NAMES: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): NDARRAY,
    ("numpy", "dtype"): Ours("numpy.dtype", _dtype),
    **{(f"{core}.multiarray", "_reconstruct"): Ours("numpy._reconstruct", _reconstruct) for core in _CORES},
    **{(f"{core}.multiarray", "scalar"): Ours("numpy.scalar", _scalar) for core in _CORES},
    **{(f"{core}.numeric", "_frombuffer"): Ours("numpy._frombuffer", _frombuffer) for core in _CORES},
    # the spelling of arrays of these types; `dtype` gets them as its argument
    **{("ml_dtypes", name): DtypeShell(dtype) for name, dtype in BY_NAME.items() if dtype.type.__module__ == "ml_dtypes"},
}  # fmt: skip


# ----------------------------------------------------------------------------------------------------------------------
# Torch tensors as its pickles spell them: views of storages, which are bytes elsewhere in the file. No torch.


@dataclasses.dataclass(frozen=True)
class StorageType:
    """`torch.FloatStorage`: the type of its numbers; None where the tensor says it."""

    dtype: np.dtype | None


@dataclasses.dataclass(eq=False)
class Storage:
    """Bytes that tensors view. `raw()` gives them in this machine's byte order, once the file was read that far."""

    key: str
    dtype: np.dtype | None
    raw: Callable[[], memoryview]


@dataclasses.dataclass(eq=False)
class Tensor:
    """A view of a storage, not looked at yet: in a legacy file the storages come last."""

    storage: Storage
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> np.ndarray:
        """The values, as a view of the storage's bytes.

        Raises:
          ForeignError: the storage is shorter than the view.
        """
        raw, size = self.storage.raw(), self.dtype.itemsize
        if 0 in self.shape:
            return np.zeros(self.shape, self.dtype)
        last = self.offset + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides))
        if (last + 1) * size > len(raw):
            raise ForeignError(
                f"a tensor {self.dtype}{list(self.shape)} reaches to value {last:,} of storage "
                f"{show(self.storage.key)}, which has {len(raw) // size:,}: damaged, or made up"
            )
        strides = tuple(stride * size for stride in self.strides)
        return np.ndarray(self.shape, self.dtype, raw, self.offset * size, strides)


def _tensor(machine: Machine, storage: Any, offset: Any, shape: Any, strides: Any, dtype: Any = None) -> Tensor:
    if not isinstance(storage, Storage):
        raise ForeignError(f"a tensor over {show(storage)} and no storage: damaged, or made up")
    sizes, steps = checked_shape(shape, "a tensor"), checked_shape(strides, "a tensor")
    if len(sizes) != len(steps) or type(offset) is not int or offset < 0:
        raise ForeignError(f"a tensor of shape {list(sizes)}, strides {list(steps)} and offset {show(offset)}: made up")
    if max([offset, math.prod(sizes), *steps]) >= 2**60:
        raise ForeignError(f"a tensor of shape {list(sizes)}, larger than any memory: damaged, or made up")
    number_type = dtype or storage.dtype
    if number_type is None:
        raise ForeignError("a tensor whose type of numbers is not said: damaged, or made up")
    return Tensor(storage, number_type, offset, sizes, steps)


def _v2(machine: Machine, storage: Any, offset: Any, shape: Any, strides: Any, *more: Any) -> Tensor:
    metadata = more[2] if len(more) > 2 else None  # after requires_grad and hooks
    if isinstance(metadata, dict) and (lazy := [key for key in ("conj", "neg") if metadata.get(key)]):
        raise ForeignError(
            f"holds a tensor whose values are to be {'conjugated' if lazy[0] == 'conj' else 'negated'} when they are read; "
            f"save it with resolve_{lazy[0]}()"
        )
    return _tensor(machine, storage, offset, shape, strides)


def _v3(machine: Machine, storage: Any, offset: Any, shape: Any, strides: Any, grad: Any, hooks: Any, dtype: Any,
        *more: Any) -> Tensor:  # fmt: skip
    known = BY_NAME.get(dtype.name) if isinstance(dtype, StubClass) and dtype.module == "torch" else None
    if known is None:
        raise ForeignError(f"a tensor of the type {show(str(dtype))}, which is not read; convert it to float32 first")
    return _tensor(machine, storage, offset, shape, strides, known)


def _parameter(machine: Machine, data: Any, *more: Any) -> Any:
    return data


def _from_type(machine: Machine, function: Any, cls: Any, args: Any, state: Any) -> Any:
    """The plain tensor within a subclass of tensors."""
    if not isinstance(function, Ours) or function.call is _from_type:
        raise ForeignError(
            f"a kind of tensor that {show(str(function))} makes, which is not read; save it as a dense one"
        )
    return machine.reduce(function, args)


def _size(machine: Machine, sizes: Any = ()) -> tuple[int, ...]:
    return checked_shape(sizes, "a tensor")


def _refused_tensor(kind: str) -> Ours:
    def call(machine: Machine, *args: Any) -> Any:
        raise ForeignError(f"holds a {kind} tensor, which is not read; save it as a dense tensor of floats")

    return Ours(f"torch's {kind} tensor", call)


_STORAGES = {
    "Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16", "Long": "int64", "Int": "int32",
    "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool", "ComplexFloat": "complex64",
    "ComplexDouble": "complex128", "Float8_e4m3fn": "float8_e4m3fn", "Float8_e5m2": "float8_e5m2",
}  # fmt: skip
_OTHERS = {
    "_rebuild_qtensor": "quantised", "_rebuild_sparse_tensor": "sparse", "_rebuild_sparse_csr_tensor": "sparse",
    "_rebuild_nested_tensor": "nested", "_rebuild_meta_tensor_no_storage": "meta (empty)",
    "_rebuild_wrapper_subclass": "wrapped", "_rebuild_device_tensor_from_numpy": "foreign device's",
    "_rebuild_device_tensor_from_cpu_tensor": "foreign device's",
}  # fmt: skip

TENSOR_NAMES: dict[tuple[str, str], Any] = {
    **{(module, f"{name}Storage"): StorageType(BY_NAME[dtype])
       for name, dtype in _STORAGES.items() for module in ("torch", "torch.cuda")},
    **{(module, "UntypedStorage"): StorageType(None) for module in ("torch", "torch.storage")},
    **{("torch._utils", name): _refused_tensor(kind) for name, kind in _OTHERS.items()},
    ("torch._utils", "_rebuild_tensor"): Ours("torch._utils._rebuild_tensor", _v2),
    ("torch._utils", "_rebuild_tensor_v2"): Ours("torch._utils._rebuild_tensor_v2", _v2),
    ("torch._utils", "_rebuild_tensor_v3"): Ours("torch._utils._rebuild_tensor_v3", _v3),
    ("torch._utils", "_rebuild_parameter"): Ours("torch._utils._rebuild_parameter", _parameter),
    ("torch._utils", "_rebuild_parameter_with_state"): Ours("torch._utils._rebuild_parameter_with_state", _parameter),
    ("torch._tensor", "_rebuild_from_type_v2"): Ours("torch._tensor._rebuild_from_type_v2", _from_type),
    ("torch", "Size"): Ours("torch.Size", _size),
    **{("torch", f"{name}Storage"): Ours(f"torch.{name}Storage", lambda machine, *args: _quantised())
       for name in ("QInt8", "QUInt8", "QInt32", "QUInt4x2", "QUInt2x4")},
}  # fmt: skip


def _quantised() -> Any:
    raise ForeignError("holds a quantised tensor, which is not read; save it as a dense tensor of floats")


def storage_type(value: Any) -> StorageType:
    """The type in a persistent id."""
    if isinstance(value, StorageType):
        return value
    if isinstance(value, Ours):
        _quantised()
    name = value.cls if isinstance(value, Stub) else value
    raise ForeignError(f"a storage of the type {show(str(name))}, which is not known; convert it to float32 first")
