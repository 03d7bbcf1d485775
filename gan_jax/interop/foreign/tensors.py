"""Torch tensors as its pickles spell them: views of storages, which are bytes elsewhere in the file. No torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from gan_jax.interop.foreign.arrays import checked_shape
from gan_jax.interop.foreign.dtypes import BY_NAME
from gan_jax.interop.foreign.limits import ForeignError, show
from gan_jax.interop.foreign.stubs import Ours, Stub, StubClass

if TYPE_CHECKING:
    from gan_jax.interop.foreign.machine import Machine


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


def _refused(kind: str) -> Ours:
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

ALLOWED: dict[tuple[str, str], Any] = {
    **{(module, f"{name}Storage"): StorageType(BY_NAME[dtype])
       for name, dtype in _STORAGES.items() for module in ("torch", "torch.cuda")},
    **{(module, "UntypedStorage"): StorageType(None) for module in ("torch", "torch.storage")},
    **{("torch._utils", name): _refused(kind) for name, kind in _OTHERS.items()},
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
