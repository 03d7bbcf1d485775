"""The options of a verb as a list: names, types, defaults and descriptions, read from its dataclass.

Help, completion and the check of typed words use this list. Parsing itself is tyro's, which uses the same names.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import io
import textwrap
import tokenize
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union

KINDS = {int: "INT", float: "FLOAT", bool: "BOOL", Path: "PATH", str: "STR"}


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a verb, or one of its positional words.

    Attributes:
      name: without dashes, as `train.batch`; for a positional word its name in the usage line.
      hint: type of the value, without annotations.
      default: value if it is left out; `REQUIRED` if it must be given.
      help: its description.
      positional: whether it is given without a name.
      kind: the kind of networks, or the method, that it belongs to, if not that of the defaults.
    """

    name: str
    hint: Any
    default: Any
    help: str
    positional: bool = False
    kind: str = ""

    @property
    def flag(self) -> bool:
        """Whether it is given without a value: `--x` or `--no-x`."""
        return self.hint is bool and not self.positional and self.default is not REQUIRED

    @property
    def negative(self) -> str:
        """The name that turns a flag off: `log.no-tensorboard`."""
        head, dot, last = self.name.rpartition(".")
        return f"{head}{dot}no-{last}"

    @property
    def names(self) -> tuple[str, ...]:
        """All names of the option on the command line."""
        return () if self.positional else (self.name, self.negative) if self.flag else (self.name,)

    @property
    def optional(self) -> bool:
        """Whether None is a valid value."""
        return type(None) in _members(self.hint)

    @property
    def several(self) -> bool:
        """Whether it takes any number of values."""
        return any(typing.get_origin(hint) in (tuple, list) for hint in _members(self.hint))

    @property
    def values(self) -> tuple[type, ...]:
        """The types of a single value."""
        types = [hint for hint in _members(self.hint) if hint is not type(None)]
        if self.several:
            inner = typing.get_args(next(hint for hint in types if typing.get_origin(hint) in (tuple, list)))
            types = [member for hint in inner if hint is not Ellipsis for member in _members(hint)]
        return tuple(types)

    @property
    def choices(self) -> tuple[str, ...]:
        """The allowed values without None, if only some are allowed."""
        if any(typing.get_origin(hint) is not Literal for hint in self.values):
            return ()
        return tuple(str(value) for hint in self.values for value in typing.get_args(hint))

    @property
    def metavar(self) -> str:
        """The placeholder of its value in help: `INT`, `{a,b}`, `[STR ...]`."""
        if self.flag:
            return ""
        text = "{" + ",".join(self.choices) + "}" if self.choices else ""
        text = text or "|".join(dict.fromkeys(KINDS.get(hint, "STR") for hint in self.values))
        text = f"[{text} ...]" if self.several else text
        return f"{text}|None" if self.optional else text


class _Required:
    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED = _Required()


def options_of(cls: Any, default: Any = None, *, every: bool = False) -> list[Option]:
    """Lists the options of a dataclass, in the order of its fields.

    Args:
      cls: the dataclass; fields may be dataclasses, or unions of them whose member the default selects.
      default: an instance with the defaults; None = those of the class.
      every: also list the options of other members of such unions, under their `kind`.
    """
    return list(_walk(cls, default, "", every))


def commands_of(cls: Any) -> dict[str, type]:
    """Returns the second words of a verb, `{"info": Info, ..}`; none for a plain dataclass."""
    commands = {}
    for member in typing.get_args(cls) if typing.get_origin(cls) in (Union, types.UnionType) else ():
        inner, notes = _unwrap(member)
        name = next((note.name for note in notes if getattr(note, "name", None)), inner.__name__.lower())
        commands[name] = inner
    return commands


def summary_of(cls: type) -> tuple[str, str]:
    """Splits a class's docstring into its first paragraph, on one line, and the rest."""
    head, _, rest = inspect.cleandoc(cls.__doc__ or "").partition("\n\n")
    return " ".join(head.split()), rest


def _walk(cls: type, default: Any, prefix: str, every: bool, kind: str = "") -> Iterator[Option]:
    from tyro.conf import Positional

    from gan_jax.config import kind_of
    from gan_jax.config.serial import hints_of

    hints = hints_of(cls, extras=True)
    comments = _comments(cls)
    for field in dataclasses.fields(cls):
        hint, notes = _unwrap(hints[field.name])
        settings = next((note for note in notes if hasattr(note, "metavar")), None)
        value = _default(field, default)
        name = getattr(settings, "name", None)
        name = field.name.replace("_", "-") if name is None else name
        path = ".".join(part for part in (prefix, name) if part)
        members: list[Any] = [member for member in _members(hint) if dataclasses.is_dataclass(member)]
        if members:
            chosen = type(value) if type(value) in members else members[0]
            yield from _walk(chosen, value if type(value) is chosen else None, path, every, kind)
            names = {option.name for option in _walk(chosen, None, path, False)} if every else set()
            for other in members if every else ():
                for option in _walk(other, None, path, False, kind_of(other)) if other is not chosen else ():
                    if option.name not in names:
                        names.add(option.name)
                        yield option
            continue
        if isinstance(value, tuple) and value and all(map(dataclasses.is_dataclass, value)):  # methods of a chain
            for part in value:
                part_options = _walk(type(part), part, f"{prefix}.{kind_of(part).replace('_', '-')}", every, kind)
                yield from (option for option in part_options if option.name.rpartition(".")[2] not in shared(cls))
            continue
        positional = any(note is Positional for note in notes)
        if positional:
            path = getattr(settings, "metavar", None) or field.name.upper()
        text = getattr(settings, "help", None) or comments.get(field.name, "")
        yield Option(path, hint, value, text, positional, kind)


def shared(cls: type) -> set[str]:
    """Returns the option names of a dataclass's own fields, which are not repeated for its parts."""
    return {field.name.replace("_", "-") for field in dataclasses.fields(cls)}


def _default(field: Any, default: Any) -> Any:
    import tyro

    if default is not None:
        value = getattr(default, field.name)
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        value = field.default
    return REQUIRED if value is dataclasses.MISSING or value is tyro.MISSING else value


def _unwrap(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """Splits a type from its annotations."""
    notes: tuple[Any, ...] = ()
    while hasattr(hint, "__metadata__"):
        notes += hint.__metadata__
        hint = hint.__origin__
    return hint, notes


def _members(hint: Any) -> tuple[Any, ...]:
    union = typing.get_origin(hint) in (Union, types.UnionType)
    return tuple(_unwrap(member)[0] for member in typing.get_args(hint)) if union else (hint,)


@functools.cache
def _comments(cls: type) -> dict[str, str]:
    """Collects the comments of a dataclass's fields: at the end of the line, or on the lines right above."""
    comments: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base):
            comments |= _comments_in(base)
    return comments


def _comments_in(cls: type) -> dict[str, str]:
    try:
        source = textwrap.dedent(inspect.getsource(cls))
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (OSError, TypeError, tokenize.TokenError, SyntaxError):
        return {}
    lines = source.splitlines()
    notes = {t.start[0]: t.string.lstrip("# ").strip() for t in tokens if t.type == tokenize.COMMENT}
    alone = {line for line in notes if lines[line - 1].lstrip().startswith("#")}
    comments = {}
    body = ast.parse(source).body[0]
    for node in getattr(body, "body", ()):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        trailing = [notes[line] for line in range(node.lineno, (node.end_lineno or node.lineno) + 1) if line in notes]
        above: list[str] = []
        line = node.lineno - 1
        while line in alone:
            above.insert(0, notes[line])
            line -= 1
        comments[node.target.id] = " ".join(above or trailing)
    return comments
