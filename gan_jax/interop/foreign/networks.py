"""How networks lie in the pickles of their programs: torch modules, NVlabs' StyleGAN in torch and in TensorFlow.

NVlabs' torch pickles hold, for each network, the text of its source and a state; the text would be run by their own
loader. Here it is hashed and left out. Their TensorFlow pickles hold a list of (name, array) for each network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from gan_jax.interop.foreign.collect import Recorded
from gan_jax.interop.foreign.limits import SCALARS, ForeignError
from gan_jax.interop.foreign.stubs import Stub

Children = list[tuple[Any, Any]]
PERSISTENT = "_reconstruct_persistent_obj"  # torch_utils.persistence, of the StyleGAN2-ADA family
MODULE = ("_parameters", "_buffers", "_modules")  # torch.nn.Module
TF_TRIO = ("G", "D", "Gs")  # what NVlabs' TensorFlow files hold, in this order


def is_torch_network(value: Any) -> bool:
    """Whether this is a network of NVlabs' torch pickles."""
    return isinstance(value, Stub) and value.cls.name == PERSISTENT


def is_tf_network(value: Any) -> bool:
    """Whether this is a network of NVlabs' TensorFlow pickles (`dnnlib.tflib.network.Network`, or older)."""
    return isinstance(value, Stub) and value.cls.name == "Network" and "variables" in _fields(value.state)


def named_root(root: Any) -> Any:
    """What a file holds, with names: the (G, D, Gs) of TensorFlow pickles has none itself."""
    if isinstance(root, list | tuple) and len(root) == len(TF_TRIO) and all(map(is_tf_network, root)):
        return dict(zip(TF_TRIO, root))
    return root


def parts_of(stub: Stub) -> tuple[Recorded, Children, bool]:
    """An object's record (not yet made plain), the children that may hold tensors, and whether to keep their values.

    Raises:
      ForeignError: it is laid out like a network, but not whole.
    """
    if is_torch_network(stub):
        return _persistent(stub)
    if is_tf_network(stub):
        return _tf(stub)
    state = _fields(stub.state)
    if _is_module(state):
        return _module(str(stub.cls), stub.args, state)
    # Anything else: all that it was given, for the tensors that may be in it
    children: Children = [*stub.pairs.items(), *enumerate(stub.items), *state.items()]
    children += [("args", stub.args)] * bool(stub.args) + [("kwargs", stub.kwargs)] * bool(stub.kwargs)
    if stub.state is not None and not isinstance(stub.state, dict):
        children.append(("state", stub.state))
    settings = dict(stub.kwargs)
    plain_items = [value for value in stub.items if isinstance(value, SCALARS)]
    record = Recorded(str(stub.cls), _scalars(stub.args), settings, _plain_attributes(state))
    if stub.pairs and not state:  # a kind of dict: its values are values
        return record, children, True
    return (
        Recorded(record.cls, record.args or tuple(plain_items), _kwargs(record.kwargs), record.state),
        children,
        False,
    )


def _persistent(stub: Stub) -> tuple[Recorded, Children, bool]:
    meta = _fields(stub.args[0]) if len(stub.args) == 1 else {}
    state, name, source = _fields(meta.get("state")), meta.get("class_name"), meta.get("module_src")
    if not isinstance(name, str) or not state:
        raise ForeignError(
            "a network without its class name or state, where NVlabs' files have both: damaged, or made up"
        )
    digest = hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest() if isinstance(source, str) else None
    args, kwargs = state.get("_init_args", ()), _fields(state.get("_init_kwargs"))
    args = tuple(args) if isinstance(args, list | tuple) else ()
    if not _is_module(state):  # an augmentation pipe without parameters, a settings object
        return Recorded(name, args, kwargs, _plain_attributes(state), digest), list(state.items()), False
    record, children, keep = _module(name, args, state)
    return Recorded(name, args, kwargs, record.state, digest), children, keep


def _tf(stub: Stub) -> tuple[Recorded, Children, bool]:
    state = _fields(stub.state)
    variables = state["variables"]
    pairs = lambda: all(isinstance(v, list | tuple) and len(v) == 2 and isinstance(v[0], str) for v in variables)
    if not isinstance(variables, list | tuple) or not pairs():
        raise ForeignError("a TensorFlow network whose variables are no (name, array) pairs: damaged, or made up")
    source = state.get("build_module_src") or state.get("source")
    digest = hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest() if isinstance(source, str) else None
    components = _fields(state.get("components"))
    name = str(state.get("build_func_name") or state.get("func_name") or stub.cls)
    record = Recorded(name, (), _fields(state.get("static_kwargs")), _plain_attributes(state), digest)
    return record, [*((v[0], v[1]) for v in variables), *components.items()], False


def _module(name: str, args: tuple[Any, ...], state: dict[str, Any]) -> tuple[Recorded, Children, bool]:
    """A module's own parameters and buffers, then its modules: the order and the names of `state_dict()`."""
    groups = [_fields(state[key]) for key in MODULE]
    children: Children = [(key, value) for group in groups for key, value in group.items() if value is not None]
    return Recorded(name, _scalars(args), {}, _plain_attributes(state)), children, False


def _is_module(state: dict[Any, Any]) -> bool:
    return all(isinstance(state.get(key), dict) or isinstance(state.get(key), Stub) for key in MODULE)


def _fields(value: Any) -> dict[Any, Any]:
    """What there is by key: of a dict, of a kind of dict, or of a (`__dict__`, slots) pair."""
    if isinstance(value, Stub):
        return value.pairs
    if isinstance(value, tuple) and len(value) == 2 and all(isinstance(part, dict | None) for part in value):
        return {**(value[0] or {}), **(value[1] or {})}
    return value if isinstance(value, dict) else {}


_TEXTS = ("build_module_src", "source", "module_src")  # source, left out


def _plain_attributes(state: dict[Any, Any]) -> dict[str, Any]:
    """The settings among attributes: scalars, and lists of them."""
    return {
        str(key): value
        for key, value in state.items()
        if key not in _TEXTS and key not in ("_init_args", "_init_kwargs") and _is_setting(value)
    }


def _is_setting(value: Any) -> bool:
    return isinstance(value, SCALARS) or (
        isinstance(value, list | tuple) and all(isinstance(child, SCALARS) for child in value)
    )


def _scalars(args: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(value for value in args if _is_setting(value))


def _kwargs(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in kwargs.items() if _is_setting(value)}
