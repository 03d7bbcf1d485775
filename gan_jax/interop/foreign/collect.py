"""Flattens what a pickle held: arrays by dotted names in the order of the file, plain values and records beside them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from gan_jax.interop.foreign.arrays import ArrayShell, DtypeShell
from gan_jax.interop.foreign.dtypes import native
from gan_jax.interop.foreign.limits import SCALARS, Budget, ForeignError, show
from gan_jax.interop.foreign.stubs import Ours, Stub, StubClass
from gan_jax.interop.foreign.tensors import Storage, StorageType, Tensor


@dataclasses.dataclass(frozen=True)
class Recorded:
    """An object of another program, as far as its file tells: nothing of it was made or run.

    Attributes:
      cls: `training.networks.Generator`; of NVlabs' networks the bare class name.
      args: positional arguments that it was made with.
      kwargs: named ones: for networks `img_resolution`, `z_dim`..
      state: its other plain attributes.
      source_sha256: of the source text that came in the file, which itself is left out; None without one.
    """

    cls: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)
    state: dict[str, Any] = dataclasses.field(default_factory=dict)
    source_sha256: str | None = None


class Collector:
    """Goes through nested containers.

    Attributes:
      tensors: found so far.
      values: found so far.
      stubs: found so far, by the dotted name of their place.
    """

    def __init__(self, budget: Budget) -> None:
        """A collection that is empty yet."""
        self.budget = budget
        self.tensors: dict[str, np.ndarray] = {}
        self.values: dict[str, Any] = {}
        self.stubs: dict[str, Recorded] = {}
        self.open: set[int] = set()  # the objects that the present one lies in

    def visit(self, name: str, value: Any, depth: int = 0, *, keep: bool = True) -> None:
        """Takes in a value and all that lies in it.

        Args:
          name: dotted, of its place.
          value: of a `Machine`.
          depth: of its nesting.
          keep: whether plain values are kept, or tensors only.
        """
        self.budget.item(chars=len(name))
        self.budget.deep(depth)
        if isinstance(value, Tensor | ArrayShell | np.generic | np.ndarray):
            self.number(name, value, keep)
        elif isinstance(value, Stub):
            self.stub(name, value, depth)
        elif isinstance(value, dict | list | tuple | set | frozenset):
            if keep and name and self.is_plain(value):
                self.add(self.values, name, value)
                return
            if id(value) in self.open:
                raise ForeignError(
                    f"{show(name)} is a container that holds itself; weights are dicts and lists of tensors"
                )
            self.open.add(id(value))
            for key, child in value.items() if isinstance(value, dict) else enumerate(value):
                self.visit(join(name, key), child, depth + 1, keep=keep)
            self.open.discard(id(value))
        elif keep:
            self.add(self.values, name, value if isinstance(value, SCALARS) else spelled(value))

    def number(self, name: str, value: Any, keep: bool = True) -> None:
        """Takes in an array or a NumPy number; arrays of strings are values, and so are lone numbers."""
        array = value.array() if isinstance(value, Tensor) else value.array if isinstance(value, ArrayShell) else value
        if isinstance(array, np.generic) or array.dtype.kind in "SU":
            if keep:
                self.budget.charge(array.nbytes, f"array {show(name)}")
                self.budget.item(array.size)
                self.add(self.values, name, array if isinstance(array, np.generic) else array.tolist())
            return
        self.budget.charge(array.nbytes, f"tensor {show(name)}")
        array = native(array)
        array.flags.writeable = False
        self.add(self.tensors, name, array)

    def stub(self, name: str, stub: Stub, depth: int) -> None:
        """Takes in an object of another program; `networks.py` says how those of networks are laid out."""
        from gan_jax.interop.foreign.networks import parts_of  # which is written in terms of this file

        if id(stub) in self.open:
            return  # an object that knows its parent
        self.open.add(id(stub))
        record, children, keep = parts_of(stub, self.budget)
        self.add(self.stubs, name, dataclasses.replace(
            record, args=self.plain(record.args), kwargs=self.plain(record.kwargs), state=self.plain(record.state)
        ))  # fmt: skip
        for key, child in children:
            self.visit(join(name, key), child, depth + 1, keep=keep)
        self.open.discard(id(stub))

    def is_plain(self, container: Any) -> bool:
        """Whether a container holds scalars only, as `betas` does: it is one value then. An empty one is, too."""
        self.budget.item(len(container))
        if isinstance(container, dict):
            return not container
        return all(isinstance(value, SCALARS) for value in container)

    def plain(self, value: Any, depth: int = 0) -> Any:
        """A value for a record: containers and scalars; an array in it by its values, another object as a record."""
        self.budget.item()
        self.budget.deep(depth)
        if isinstance(value, dict):
            return {key: self.plain(child, depth + 1) for key, child in value.items()}
        if isinstance(value, list | tuple):
            children = [self.plain(child, depth + 1) for child in value]
            return children if isinstance(value, list) else tuple(children)
        if isinstance(value, Stub):
            if value.pairs and value.state is None:  # a kind of dict, such as EasyDict
                return self.plain(value.pairs, depth + 1)
            return Recorded(str(value.cls), self.plain(value.args, depth + 1), self.plain(value.kwargs, depth + 1))
        if isinstance(value, Tensor | ArrayShell):
            array = value.array() if isinstance(value, Tensor) else value.array
            self.budget.charge(array.nbytes, "an array among the settings")
            return native(array)
        return value if isinstance(value, (*SCALARS, np.generic, set, frozenset)) else spelled(value)

    def add(self, kind: dict[str, Any], name: str, value: Any) -> None:
        """Keeps a value of a kind under its name, which no other has."""
        if name in kind:
            raise ForeignError(f"two of its tensors or values are called {show(name)}; a dotted name must mean one")
        kind[name] = value


def join(name: str, key: Any) -> str:
    """The dotted name of a child."""
    text = key if isinstance(key, str) else key.decode("latin1") if isinstance(key, bytes) else str(key)
    return f"{name}.{text}" if name else text


def spelled(value: Any) -> Any:
    """The text of a value that is neither a scalar nor an array: `torch.float32`, `float32`."""
    if isinstance(value, DtypeShell):
        return value.dtype.name
    if isinstance(value, StubClass):
        return str(value)
    if isinstance(value, Ours):
        return value.name
    if isinstance(value, StorageType):
        return str(value.dtype)
    if isinstance(value, Storage):
        raise ForeignError("holds a bare storage, whose shape is not said; save it as a tensor")
    return show(value)
