"""The only names that a pickle can have built, each by a function of ours. All others become records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gan_jax.interop.foreign import arrays, tensors
from gan_jax.interop.foreign.limits import CONTAINER_BYTES, ForeignError, checked_key, show
from gan_jax.interop.foreign.stubs import Ours, Stub, StubClass

if TYPE_CHECKING:
    from gan_jax.interop.foreign.machine import Machine


def _dict(machine: Machine, pairs: Any = (), *more: Any) -> dict[Any, Any]:
    """`OrderedDict()`, or of pairs, as Python 2 wrote it."""
    if isinstance(pairs, StubClass | Ours | None):  # the factory of a defaultdict
        pairs = more[0] if more else ()
    if not isinstance(pairs, dict | list | tuple):
        raise ForeignError(f"a dict made of {show(pairs)}; one is made of pairs")
    return _filled(machine, pairs.items() if isinstance(pairs, dict) else pairs)


def _filled(machine: Machine, pairs: Any) -> dict[Any, Any]:
    machine.budget.charge(CONTAINER_BYTES * (1 + len(pairs)), "its dicts")
    table: dict[Any, Any] = {}
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise ForeignError("a dict made of something else than pairs: damaged, or made up")
        table[checked_key(pair[0])] = pair[1]
    return table


def _set(machine: Machine, values: Any = ()) -> set[Any]:
    if not isinstance(values, list | tuple):
        raise ForeignError(f"a set made of {show(values)}; one is made of a list")
    machine.budget.charge(CONTAINER_BYTES * (1 + len(values)), "its sets")
    return set(map(checked_key, values))


def _encode(machine: Machine, text: Any = "", encoding: Any = "latin1") -> bytes:
    """Bytes, as protocol 2 of Python 3 spells them."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ForeignError(f"asks to encode {show(text)} in {show(encoding)}; pickles do so with bytes in latin1 only")
    machine.budget.charge(len(text), "its bytes")
    return text.encode("latin1")


def _bytes(machine: Machine, value: Any = b"", encoding: Any = "latin1") -> bytes:
    return _encode(machine, value, encoding) if not isinstance(value, bytes) else value


def _complex(machine: Machine, real: Any, imaginary: Any) -> complex:
    if not isinstance(real, int | float) or not isinstance(imaginary, int | float):
        raise ForeignError("a complex number of something else than two numbers: damaged, or made up")
    return complex(real, imaginary)


def _object(machine: Machine, cls: Any, base: Any = None, state: Any = None) -> Any:
    """An object, as protocols 0 and 1 spell it."""
    instance = machine.reduce(cls, ())
    if isinstance(instance, Stub) and isinstance(state, dict | list | tuple):
        machine.push(instance)
        if isinstance(state, dict):
            instance.pairs = state
        else:
            machine.budget.charge(8 * len(state), "its lists")
            machine.extend(list(state))
        machine.pop()
    return instance


def _new(machine: Machine, cls: Any, *args: Any) -> Any:
    return machine.reduce(cls, args)


_BUILTINS = {
    "set": Ours("set", _set), "frozenset": Ours("frozenset", lambda m, *args: frozenset(_set(m, *args))),
    "bytearray": Ours("bytearray", _bytes), "bytes": Ours("bytes", _bytes), "complex": Ours("complex", _complex),
}  # fmt: skip

ALLOWED: dict[tuple[str, str], Any] = {
    **arrays.ALLOWED,
    **tensors.ALLOWED,
    **{(module, name): ours for module in ("builtins", "__builtin__") for name, ours in _BUILTINS.items()},
    **{(module, "_reconstructor"): Ours("copyreg._reconstructor", _object) for module in ("copyreg", "copy_reg")},
    **{(module, "__newobj__"): Ours("copyreg.__newobj__", _new) for module in ("copyreg", "copy_reg")},
    ("_codecs", "encode"): Ours("_codecs.encode", _encode),
    ("collections", "OrderedDict"): Ours("collections.OrderedDict", _dict),
    ("collections", "defaultdict"): Ours("collections.defaultdict", _dict),
    ("collections", "Counter"): Ours("collections.Counter", _dict),
}
