"""A reader of pickles that runs nothing of the file: numbers, strings, containers, arrays, and records of the rest."""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable
from typing import Any

from gan_jax.interop.foreign import tensors
from gan_jax.interop.foreign.archive import CONTAINER_BYTES, Budget, ForeignError, checked_key, show
from gan_jax.interop.foreign.tensors import ArrayShell, DtypeShell, Ours, Storage, Stub, StubClass, Tensor, stub_class

# ----------------------------------------------------------------------------------------------------------------------
# The only names that a pickle can have built, each by a function of ours. All others become records.


def _built_dict(machine: Machine, pairs: Any = (), *more: Any) -> dict[Any, Any]:
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


def _built_bytes(machine: Machine, value: Any = b"", encoding: Any = "latin1") -> bytes:
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
    "bytearray": Ours("bytearray", _built_bytes), "bytes": Ours("bytes", _built_bytes), "complex": Ours("complex", _complex),
}  # fmt: skip

ALLOWED: dict[tuple[str, str], Any] = {
    **tensors.ARRAY_NAMES,
    **tensors.TENSOR_NAMES,
    **{(module, name): ours for module in ("builtins", "__builtin__") for name, ours in _BUILTINS.items()},
    **{(module, "_reconstructor"): Ours("copyreg._reconstructor", _object) for module in ("copyreg", "copy_reg")},
    **{(module, "__newobj__"): Ours("copyreg.__newobj__", _new) for module in ("copyreg", "copy_reg")},
    ("_codecs", "encode"): Ours("_codecs.encode", _encode),
    ("collections", "OrderedDict"): Ours("collections.OrderedDict", _built_dict),
    ("collections", "defaultdict"): Ours("collections.defaultdict", _built_dict),
    ("collections", "Counter"): Ours("collections.Counter", _built_dict),
}


# ----------------------------------------------------------------------------------------------------------------------
# The instructions of a pickle that push a value of their own: numbers, strings, bytes and empty containers.
#
# Every length that an instruction declares is checked against what is left of the file before anything is allocated.

LONGEST_LINE = 65_536  # of the text instructions of protocol 0: names and strings, but no weights
LONGEST_INT = 255  # bytes; torch's magic number takes 10


class Cursor:
    """A place in bytes that only moves forward."""

    def __init__(self, data: memoryview, at: int = 0) -> None:
        """At the beginning of `data`, or later."""
        self.data, self.at = data, at

    def view(self, count: int) -> memoryview:
        """The next bytes, not copied."""
        left = len(self.data) - self.at
        if count < 0 or count > left:
            raise ForeignError(
                f"ends too early: {count:,} bytes are announced at byte {self.at:,} and {left:,} are left; copy it again"
            )
        self.at += count
        return self.data[self.at - count : self.at]

    def take(self, count: int) -> bytes:
        """The next bytes."""
        return bytes(self.view(count))

    def number(self, form: str) -> Any:
        """One number of a `struct` form."""
        return struct.unpack(form, self.view(struct.calcsize(form)))[0]

    def line(self) -> bytes:
        """Up to a new line, without it."""
        for longest in (256, LONGEST_LINE):  # most lines are short
            window = bytes(self.data[self.at : self.at + longest])
            if (end := window.find(b"\n")) >= 0:
                self.at += end + 1
                return window[:end]
        raise ForeignError(f"ends too early, or is no pickle: no end of the line at byte {self.at:,}")


def _counted(form: str) -> Callable[[Cursor], bytes]:
    return lambda cursor: cursor.take(cursor.number(form))


def _text(form: str) -> Callable[[Cursor], str]:
    return lambda cursor: cursor.take(cursor.number(form)).decode("utf-8", "surrogatepass")


def _latin(form: str) -> Callable[[Cursor], str]:
    """Strings of Python 2: a byte a character, which keeps the bytes of arrays."""
    return lambda cursor: cursor.take(cursor.number(form)).decode("latin1")


def _long(form: str) -> Callable[[Cursor], int]:
    def read(cursor: Cursor) -> int:
        count = cursor.number(form)
        if not 0 <= count <= LONGEST_INT:
            raise ForeignError(f"an integer of {count:,} bytes; numbers beside weights have at most {LONGEST_INT}")
        return int.from_bytes(cursor.view(count), "little", signed=True)

    return read


def _decimal(cursor: Cursor) -> int | bool:
    text = cursor.line()
    if text in (b"00", b"01"):
        return text == b"01"
    if len(text) > 2 * LONGEST_INT:
        raise ForeignError(f"an integer of {len(text):,} digits; numbers beside weights have a few")
    return int(text.removesuffix(b"L"))


def _quoted(cursor: Cursor) -> str:
    text = cursor.line().strip()
    if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in (b"'", b'"'):
        raise ForeignError(f"a string without its quotation marks, {show(text)}: damaged, copy it again")
    return codecs.escape_decode(text[1:-1])[0].decode("latin1")  # pyright: ignore[reportAttributeAccessIssue]


LITERALS: dict[int, Callable[[Cursor], Any]] = {
    ord("N"): lambda cursor: None,
    0x88: lambda cursor: True,
    0x89: lambda cursor: False,
    ord("I"): _decimal,
    ord("L"): _decimal,
    ord("J"): lambda cursor: cursor.number("<i"),
    ord("K"): lambda cursor: cursor.number("<B"),
    ord("M"): lambda cursor: cursor.number("<H"),
    0x8A: _long("<B"),
    0x8B: _long("<i"),
    ord("F"): lambda cursor: float(cursor.line()),
    ord("G"): lambda cursor: cursor.number(">d"),
    ord("S"): _quoted,
    ord("T"): _latin("<i"),
    ord("U"): _latin("<B"),
    ord("V"): lambda cursor: cursor.line().decode("raw-unicode-escape"),
    ord("X"): _text("<I"),
    0x8C: _text("<B"),
    0x8D: _text("<Q"),
    ord("B"): _counted("<I"),
    ord("C"): _counted("<B"),
    0x8E: _counted("<Q"),
    0x96: _counted("<Q"),  # a bytearray; nothing here changes it
    ord("]"): lambda cursor: [],
    ord("}"): lambda cursor: {},
    ord(")"): lambda cursor: (),
    0x8F: lambda cursor: set(),
}


# ----------------------------------------------------------------------------------------------------------------------
# The machine that reads a pickle: a stack, a memo, and operations on them that run nothing of the file.
#
# What a file asks for by name is looked up in one table (`ALLOWED`) of functions of ours; every other name becomes a
# `Stub`, whose calls and states are recorded. There is no way from here to an import, to an attribute of a Python object,
# or to a call of what a file brought.

PROTOCOL = 5
STUB_BYTES = 512
MOST_ARGUMENTS = 16  # of a function of ours


class Machine:
    """The state of reading one pickle.

    Attributes:
      budget: what it may cost.
      nested: how many files this one lies in (tensors in a plain pickle are files of their own).
    """

    def __init__(
        self,
        cursor: Cursor,
        budget: Budget,
        table: dict[tuple[str, str], Any],
        persistent: Callable[[Any], Any] | None = None,
        nested: int = 0,
    ) -> None:
        """A machine for the pickle that begins at the cursor, with a table of the names that it may have built."""
        self.cursor, self.budget, self.table, self.persistent, self.nested = cursor, budget, table, persistent, nested
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    # -- the stack ---------------------------------------------------------------------------------

    def pop(self) -> Any:
        """The top, taken off."""
        if not self.stack:
            raise ForeignError(f"a pickle takes from an empty stack at byte {self.cursor.at:,}: damaged, or no pickle")
        return self.stack.pop()

    def pop_many(self, count: int) -> list[Any]:
        """The last few, taken off, in the order in which they were pushed."""
        if len(self.stack) < count:
            raise ForeignError(f"a pickle takes from an empty stack at byte {self.cursor.at:,}: damaged, or no pickle")
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def top(self) -> Any:
        """The top, left there."""
        self.stack.append(value := self.pop())
        return value

    def pop_mark(self) -> list[Any]:
        """Removes the last mark and all above it; returns what was above."""
        if not self.marks:
            raise ForeignError(f"a pickle lacks a mark at byte {self.cursor.at:,}: damaged, or no pickle")
        values, self.stack = self.stack, self.marks.pop()
        return values

    def mark(self) -> None:
        """Begins a new part of the stack."""
        self.marks.append(self.stack)
        self.stack = []

    def push(self, value: Any) -> None:
        """Puts a value on top."""
        self.stack.append(value)

    def get(self, index: int) -> None:
        """Pushes what was kept."""
        if index not in self.memo:
            raise ForeignError(f"a pickle refers to its value {index}, which there is not yet: damaged, or no pickle")
        self.push(self.memo[index])

    # -- containers --------------------------------------------------------------------------------

    def set_items(self, values: list[Any]) -> None:
        """Puts key, value, key, value.. into the dict on top."""
        target = self.top()
        if isinstance(target, Stub):
            target = target.pairs
        if not isinstance(target, dict) or len(values) % 2:
            raise ForeignError(f"a pickle sets a key of {show(target)}, or one without a value: damaged, or no pickle")
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[checked_key(key)] = value

    def extend(self, values: list[Any]) -> None:
        """Puts values into the list or set on top."""
        target = self.top()
        if isinstance(target, Stub):
            target = target.items
        if isinstance(target, set):
            target.update(map(checked_key, values))
        elif isinstance(target, list):
            target.extend(values)
        else:
            raise ForeignError(f"a pickle appends to {show(target)}: damaged, or no pickle")

    # -- what a file asks for ----------------------------------------------------------------------

    def find(self, module: Any, name: Any) -> Any:
        """The function or type of ours for a name, or a stub. Nothing is imported."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise ForeignError(
                f"a pickle asks for something named {show(name)} of {show(module)}: damaged, or no pickle"
            )
        return self.table.get((module, name)) or stub_class(module, name)

    def reduce(self, function: Any, args: Any, kwargs: Any = None) -> Any:
        """The result of a call: a function of ours is called, any other is recorded."""
        if not isinstance(args, tuple) or not isinstance(kwargs, dict | None):
            raise ForeignError("a pickle calls with arguments that are no tuple: damaged, or no pickle")
        if isinstance(function, StubClass):
            self.budget.charge(STUB_BYTES + CONTAINER_BYTES * len(kwargs or ()), "its objects")
            return Stub(function, args, {str(key): value for key, value in (kwargs or {}).items()})
        if not isinstance(function, Ours):
            raise ForeignError(
                f"asks to call {show(function)}, the result of something else: it may be an attack, and nothing of it "
                "was run; files of weights call by name only"
            )
        if kwargs or len(args) > MOST_ARGUMENTS:
            raise ForeignError(f"calls {function.name} with arguments that do not fit it: damaged, or made up")
        try:
            return function.call(self, *args)
        except TypeError as error:
            raise ForeignError(
                f"calls {function.name} with arguments that do not fit it: damaged, or made up"
            ) from error

    def build(self) -> None:
        """Gives a state to the object on top."""
        state, target = self.pop(), self.top()
        if isinstance(target, Stub):
            target.state = state
        elif isinstance(target, ArrayShell | DtypeShell):
            target.set_state(state, self.budget)
        elif not isinstance(target, dict | Tensor | Storage):  # of those it is attributes: hooks, `_metadata`
            raise ForeignError(f"a pickle gives a state to {show(target)}, which has none: damaged, or made up")

    def persist(self, key: Any) -> None:
        """Pushes what lies beside the pickle."""
        if self.persistent is None:
            raise ForeignError(f"refers to {show(key)} outside itself; only torch's own files do")
        self.push(self.persistent(key))

    def memory(self, key: Any, value: Any) -> None:
        """Keeps a value."""
        self.memo[key] = value

    def refuse(self, what: str) -> None:
        """Ends it."""
        raise ForeignError(f"a pickle asks for {what}, which files of weights do not")

    def protocol(self, number: int) -> None:
        """Checks the version."""
        if number > PROTOCOL:
            raise ForeignError(
                f"a pickle of protocol {number}; those up to {PROTOCOL} are known: damaged, or no pickle"
            )


# ----------------------------------------------------------------------------------------------------------------------
# The reader: all instructions of a pickle, and what each does to the machine.
#
# Python's own unpickler is not used: it imports what a file names, and calls it.

CONTAINERS = frozenset(b"]}(\x8f")  # a byte of a file that takes many of memory


def unpickle(
    cursor: Cursor,
    budget: Budget,
    table: dict[tuple[str, str], Any],
    persistent: Callable[[Any], Any] | None = None,
    nested: int = 0,
) -> Any:
    """Reads the object of the pickle at the cursor, which stands behind it then.

    Args:
      cursor: where it begins.
      budget: what it may cost.
      table: the names that it may have built, and by what.
      persistent: gives what it refers to beside itself; None = it may not.
      nested: how many files it lies in.

    Raises:
      ForeignError: it is damaged, or asks for what no file of weights needs.
    """
    machine = Machine(cursor, budget, table, persistent, nested)
    data, end = cursor.data, len(cursor.data)
    while (at := cursor.at) < end:
        code = data[at]
        cursor.at = at + 1
        budget.opcodes -= 1
        if budget.opcodes < 0:
            budget.exhausted()
        if code in CONTAINERS:
            budget.charge(CONTAINER_BYTES, "its containers")
        if literal := LITERALS.get(code):
            machine.stack.append(literal(cursor))
        elif action := ACTIONS.get(code):
            action(machine)
        elif code == 0x2E:  # STOP
            return machine.pop()
        else:
            raise ForeignError(f"{show(chr(code))} at byte {at:,} is no instruction of a pickle: damaged, or no pickle")
    raise ForeignError(f"a pickle without its end, after byte {end:,}: cut, copy it again")


def _line(machine: Machine) -> str:
    return machine.cursor.line().decode("utf-8")


def _create(machine: Machine, values: list[Any]) -> Any:
    """Makes an instance from a class and its arguments, as protocol 0 spells it."""
    if not values:
        raise ForeignError("a pickle makes an object of nothing: damaged, or no pickle")
    return machine.reduce(values[0], tuple(values[1:]))


def _dict(machine: Machine, values: list[Any]) -> None:
    machine.push({})
    machine.set_items(values)


_number = lambda m, form: m.cursor.number(form)
_global = lambda m: m.find(_line(m), _line(m))

ACTIONS: dict[int, Callable[[Machine], Any]] = {
    0x80: lambda m: m.protocol(_number(m, "<B")),
    0x95: lambda m: _number(m, "<Q"),  # FRAME: a hint for reading ahead
    ord("("): lambda m: m.mark(),
    ord("0"): lambda m: m.pop() if m.stack else m.pop_mark(),
    ord("1"): lambda m: m.pop_mark(),
    ord("2"): lambda m: m.push(m.top()),
    ord("a"): lambda m: m.extend([m.pop()]),
    ord("e"): lambda m: m.extend(m.pop_mark()),
    0x90: lambda m: m.extend(m.pop_mark()),
    ord("s"): lambda m: m.set_items(m.pop_many(2)),
    ord("u"): lambda m: m.set_items(m.pop_mark()),
    ord("d"): lambda m: _dict(m, m.pop_mark()),
    ord("l"): lambda m: m.push(m.pop_mark()),
    ord("t"): lambda m: m.push(tuple(m.pop_mark())),
    0x91: lambda m: m.push(frozenset(map(checked_key, m.pop_mark()))),
    0x85: lambda m: m.push(tuple(m.pop_many(1))),
    0x86: lambda m: m.push(tuple(m.pop_many(2))),
    0x87: lambda m: m.push(tuple(m.pop_many(3))),
    ord("g"): lambda m: m.get(int(m.cursor.line()[:20])),
    ord("h"): lambda m: m.get(_number(m, "<B")),
    ord("j"): lambda m: m.get(_number(m, "<I")),
    ord("p"): lambda m: m.memory(int(m.cursor.line()[:20]), m.top()),
    ord("q"): lambda m: m.memory(_number(m, "<B"), m.top()),
    ord("r"): lambda m: m.memory(_number(m, "<I"), m.top()),
    0x94: lambda m: m.memory(len(m.memo), m.top()),
    ord("c"): lambda m: m.push(_global(m)),
    0x93: lambda m: m.push(m.find(*m.pop_many(2))),
    ord("R"): lambda m: m.push(m.reduce(*m.pop_many(2))),
    0x81: lambda m: m.push(m.reduce(*m.pop_many(2))),  # NEWOBJ: cls.__new__(cls, *args)
    0x92: lambda m: m.push(m.reduce(*m.pop_many(3))),
    ord("i"): lambda m: (cls := _global(m), m.push(_create(m, [cls, *m.pop_mark()]))),
    ord("o"): lambda m: m.push(_create(m, m.pop_mark())),
    ord("b"): lambda m: m.build(),
    ord("P"): lambda m: m.persist(_line(m)),
    ord("Q"): lambda m: m.persist(m.pop()),
    0x82: lambda m: m.refuse("a class of the extension registry"),
    0x83: lambda m: m.refuse("a class of the extension registry"),
    0x84: lambda m: m.refuse("a class of the extension registry"),
    0x97: lambda m: m.refuse("a buffer outside itself"),
    0x98: lambda m: m.refuse("a buffer outside itself"),
}
