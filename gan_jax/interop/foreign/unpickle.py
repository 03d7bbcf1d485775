"""A reader of pickles that runs nothing: it builds numbers, strings, containers, arrays and records of the rest.

It does not use Python's own, which imports what a file names and calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gan_jax.interop.foreign.limits import CONTAINER_BYTES, Budget, ForeignError, checked_key, show
from gan_jax.interop.foreign.literals import LITERALS, Cursor
from gan_jax.interop.foreign.machine import Machine

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
