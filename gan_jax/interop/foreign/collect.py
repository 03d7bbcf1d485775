"""Networks in the pickles of their programs, flattened to arrays by dotted names."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from gan_jax.interop.foreign.archive import SCALARS, Budget, ForeignError, show
from gan_jax.interop.foreign.tensors import (
    ArrayShell,
    DtypeShell,
    Ours,
    Storage,
    StorageType,
    Stub,
    StubClass,
    Tensor,
    native,
)

# ----------------------------------------------------------------------------------------------------------------------
# Flattens what a pickle held: arrays by dotted names in the order of the file, plain values and records beside them.


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
        """Takes in an object of another program; `parts_of` says how those of networks are laid out."""
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


# ----------------------------------------------------------------------------------------------------------------------
# How networks lie in the pickles of their programs: torch modules, NVlabs' StyleGAN in torch and in TensorFlow.
#
# NVlabs' torch pickles hold, for each network, the text of its source and a state; the text would be run by their own
# loader. Here it is hashed and left out. Their TensorFlow pickles hold a list of (name, array) for each network.

Fields = dict[Any, Any]
Parts = tuple[Recorded, list[tuple[Any, Any]], bool]
PERSISTENT = "_reconstruct_persistent_obj"  # torch_utils.persistence, of the StyleGAN2-ADA family
MODULE = ("_parameters", "_buffers", "_modules")  # torch.nn.Module
TF_TRIO = ("G", "D", "Gs")  # what NVlabs' TensorFlow files hold, in this order
LEFT_OUT = ("build_module_src", "source", "module_src", "_init_args", "_init_kwargs")  # of what is recorded as state


def is_torch_network(value: Any) -> bool:
    """Whether this is a network of NVlabs' torch pickles."""
    return isinstance(value, Stub) and value.cls.name == PERSISTENT


def is_tf_network(value: Any) -> bool:
    """Whether this is a network of NVlabs' TensorFlow pickles (`dnnlib.tflib.network.Network`, or older)."""
    return (
        isinstance(value, Stub)
        and value.cls.name == "Network"
        and isinstance(value.state, dict)
        and "variables" in value.state
    )


def named_root(root: Any) -> Any:
    """Gives names to a file's networks: the (G, D, Gs) of TensorFlow pickles has none itself."""
    if isinstance(root, list | tuple) and len(root) == len(TF_TRIO) and all(map(is_tf_network, root)):
        return dict(zip(TF_TRIO, root))
    return root


def parts_of(stub: Stub, budget: Budget) -> Parts:
    """An object's record (not yet made plain), the children that may hold tensors, and whether to keep their values.

    Args:
      stub: the object.
      budget: charged for every look at what many objects may share.

    Raises:
      ForeignError: it is laid out like a network, but not whole.
    """
    return _Layout(budget).parts(stub)


class _Layout:
    def __init__(self, budget: Budget) -> None:
        self.budget = budget

    def parts(self, stub: Stub) -> Parts:
        if is_torch_network(stub):
            return self.persistent(stub)
        if is_tf_network(stub):
            return self.tf(stub)
        state = self.fields(stub.state)
        if is_module(state):
            return Recorded(str(stub.cls), self.chosen(stub.args), {}, self.settings(state)), self.module(state), False
        # Anything else: all that it was given, for the tensors that may be in it
        self.budget.item(len(stub.pairs) + len(stub.items) + len(stub.args) + len(stub.kwargs))
        children = [*stub.pairs.items(), *enumerate(stub.items), *state.items()]
        named = {"args": stub.args, "kwargs": stub.kwargs, "state": None if state else stub.state}
        children += [(name, value) for name, value in named.items() if value]
        args = self.chosen(stub.args) or self.chosen(stub.items)
        keep = bool(stub.pairs) and not state  # a kind of dict: its values are values
        return Recorded(str(stub.cls), args, self.settings(stub.kwargs), self.settings(state)), children, keep

    def persistent(self, stub: Stub) -> Parts:
        meta = self.fields(stub.args[0]) if len(stub.args) == 1 else {}
        state, name = self.fields(meta.get("state")), meta.get("class_name")
        if not isinstance(name, str) or not state:
            raise ForeignError(
                "a network without its class name or state, where NVlabs' files have both: damaged, or made up"
            )
        args, kwargs = state.get("_init_args"), self.fields(state.get("_init_kwargs"))
        args = tuple(args) if isinstance(args, list | tuple) else ()
        record = Recorded(name, args, kwargs, self.settings(state), self.digest(meta.get("module_src")))
        return record, self.module(state) if is_module(state) else list(state.items()), False

    def tf(self, stub: Stub) -> Parts:
        state = self.fields(stub.state)
        variables = state["variables"]
        self.budget.item(len(variables) if isinstance(variables, list | tuple) else 0)
        pair = lambda v: isinstance(v, list | tuple) and len(v) == 2 and isinstance(v[0], str)
        if not isinstance(variables, list | tuple) or not all(map(pair, variables)):
            raise ForeignError("a TensorFlow network whose variables are no (name, array) pairs: damaged, or made up")
        function = state.get("build_func_name") or state.get("func_name")
        name = function if isinstance(function, str) else str(stub.cls)
        source = self.digest(state.get("build_module_src"))
        record = Recorded(name, (), self.fields(state.get("static_kwargs")), self.settings(state), source)
        return record, [*variables, *self.fields(state.get("components")).items()], False

    def module(self, state: Fields) -> list[tuple[Any, Any]]:
        """A module's own parameters and buffers, then its modules: the order and the names of `state_dict()`."""
        groups = [self.fields(state[key]) for key in MODULE]
        return [(key, value) for group in groups for key, value in group.items() if value is not None]

    def fields(self, value: Any) -> Fields:
        """The values by key of a dict, of a kind of dict, or of a (`__dict__`, slots) pair."""
        parts = value if isinstance(value, tuple) and len(value) == 2 else (value,)
        fields: Fields = {}
        for part in parts:
            part = part.pairs if isinstance(part, Stub) else part
            if isinstance(part, dict):
                self.budget.item(len(part))
                fields.update(part)
        return fields

    def settings(self, fields: Fields) -> Fields:
        """The plain ones: scalars, and lists of them; no tensors, objects or sources."""
        return {str(key): value for key, value in fields.items() if key not in LEFT_OUT and self.is_setting(value)}

    def chosen(self, values: Iterable[Any]) -> tuple[Any, ...]:
        return tuple(value for value in values if self.is_setting(value))

    def is_setting(self, value: Any) -> bool:
        if isinstance(value, list | tuple):
            self.budget.item(len(value))
            return all(isinstance(child, SCALARS) for child in value)
        return isinstance(value, SCALARS)

    def digest(self, source: Any) -> str | None:
        """sha256 of a source text."""
        if not isinstance(source, str):
            return None
        self.budget.charge(len(source), "the sources of its networks")
        return hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()


def is_module(state: Fields) -> bool:
    """Whether this is the `__dict__` of a torch module."""
    return all(isinstance(state.get(key), dict | Stub) for key in MODULE)
