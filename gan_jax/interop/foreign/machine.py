"""The machine that reads a pickle: a stack, a memo, and operations on them that run nothing of the file.

What a file asks for by name is looked up in one table (`allowed.py`) of functions of ours; every other name becomes a
`Stub`, whose calls and states are recorded. There is no way from here to an import, to an attribute of a Python object,
or to a call of what a file brought.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gan_jax.interop.foreign.arrays import ArrayShell, DtypeShell
from gan_jax.interop.foreign.limits import CONTAINER_BYTES, Budget, ForeignError, checked_key, show
from gan_jax.interop.foreign.literals import Cursor
from gan_jax.interop.foreign.stubs import Ours, Stub, StubClass, stub_class
from gan_jax.interop.foreign.tensors import Storage, Tensor

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
