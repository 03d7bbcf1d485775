"""What stands for a class or function that a file asks for and this library does not build: a record, never the thing."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

from gan_jax.interop.foreign.limits import ForeignError, show


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
# reader should hear so.
_DANGEROUS = {
    "os", "posix", "nt", "subprocess", "sys", "importlib", "runpy", "shutil", "socket", "ctypes", "pickle", "_pickle",
    "cPickle", "marshal", "types", "code", "codeop", "pty", "webbrowser", "commands", "platform", "timeit", "pdb",
    "bdb", "cProfile", "profile", "pip", "site", "threading", "multiprocessing", "asyncio", "signal", "tempfile",
    "pathlib", "pkgutil", "imp", "zipimport", "ftplib", "urllib", "requests", "http", "operator", "_operator", "copyreg",
    "copy_reg", "gc", "inspect", "builtins", "__builtin__", "dill", "cloudpickle", "joblib", "_io", "io",
}  # fmt: skip
_BUILTIN_TYPES = {
    "int", "float", "str", "bool", "bytes", "object", "slice", "range", "NoneType", "long", "unicode", "xrange", "type",
    "list", "tuple", "dict", "set", "frozenset", "complex", "bytearray", "Ellipsis", "NotImplemented",
}  # fmt: skip
_NAME = re.compile(r"[\w.<>]{1,300}")


def stub_class(module: str, name: str) -> StubClass:
    """The record of a class.

    Raises:
      ForeignError: it is one by which code is run, or has no name of a class.
    """
    parts = f"{module}.{name}".split(".")
    harmless = module in ("builtins", "__builtin__") and name in _BUILTIN_TYPES
    if not harmless and (parts[0] in _DANGEROUS or any(part in _DANGEROUS for part in name.split("."))):
        raise ForeignError(
            f"asks for {show(f'{module}.{name}')}, by which code is run: it may be an attack, and nothing of it was run; "
            "files of weights ask for tensors only"
        )
    if not _NAME.fullmatch(module) or not _NAME.fullmatch(name):
        raise ForeignError(f"asks for {show(f'{module}.{name}')}, which is no name of a class: damaged, or no pickle")
    return StubClass(module, name)
