"""How networks lie in the pickles of their programs: torch modules, NVlabs' StyleGAN in torch and in TensorFlow.

NVlabs' torch pickles hold, for each network, the text of its source and a state; the text would be run by their own
loader. Here it is hashed and left out. Their TensorFlow pickles hold a list of (name, array) for each network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from gan_jax.interop.foreign.collect import Recorded
from gan_jax.interop.foreign.limits import SCALARS, Budget, ForeignError
from gan_jax.interop.foreign.stubs import Stub

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
