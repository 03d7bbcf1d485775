"""Records of the classes and functions that a file asks for and this library does not build."""

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
# reader should hear so. First packages, with all that is in them; then modules.
_PACKAGES = {
    "os", "importlib", "multiprocessing", "asyncio", "urllib", "http", "ctypes", "pip", "requests", "xmlrpc", "dill",
    "cloudpickle", "builtins", "__builtin__", "subprocess", "runpy", "shutil", "socket", "pty",
}  # fmt: skip
_MODULES = {
    "posix", "nt", "sys", "pickle", "_pickle", "cPickle", "marshal", "types", "code", "codeop", "webbrowser", "commands",
    "platform", "timeit", "pdb", "bdb", "cProfile", "profile", "site", "threading", "_thread", "signal", "tempfile",
    "pkgutil", "imp", "zipimport", "ftplib", "operator", "_operator", "copyreg", "copy_reg", "gc", "inspect", "_io", "io",
    "popen2", "_posixsubprocess", "_winapi", "ensurepip", "venv", "torch.hub",
}  # fmt: skip
_HARMLESS = {
    "types.SimpleNamespace",
    *(f"{module}.{name}" for module in ("builtins", "__builtin__") for name in (
        "int", "float", "str", "bool", "bytes", "object", "slice", "range", "NoneType", "long", "unicode", "xrange",
        "list", "tuple", "dict", "set", "frozenset", "complex", "bytearray", "Ellipsis", "NotImplemented", "type",
    )),
}  # fmt: skip
_NAME = re.compile(r"[\w.<>]+")
LONGEST_NAME = 300


def stub_class(module: str, name: str) -> StubClass:
    """The record of a class.

    Raises:
      ForeignError: it is one by which code is run, or has no name of a class.
    """
    whole = f"{module[: LONGEST_NAME + 1]}.{name[: LONGEST_NAME + 1]}"
    if len(module) > LONGEST_NAME or len(name) > LONGEST_NAME or not _NAME.fullmatch(whole):
        raise ForeignError(f"asks for {show(whole)}, which is no name of a class: damaged, or no pickle")
    inner = name.split(".")[:-1]  # of a dotted name
    if whole not in _HARMLESS and (
        module in _MODULES or module.split(".")[0] in _PACKAGES or any(part in _MODULES | _PACKAGES for part in inner)
    ):
        raise ForeignError(
            f"asks for {show(whole)}, by which code is run: it may be an attack, and nothing of it was run; "
            "files of weights ask for tensors only"
        )
    return StubClass(module, name)
