"""Reading of our JSON documents: a damaged one gives an error of one sentence that names the file, never a traceback.

A file may be cut, edited by hand, or from another program. Here the text, its depth and the type of its values are
checked; the reader of each format checks the fields.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

VERSION = "0.1.0"  # of gan_jax, as records have it
DEPTH = 100  # levels of lists and mappings; what we write has about ten
SHOWN = 80  # characters of a wrong value in a message

KINDS = {
    dict: "a mapping",
    list: "a list",
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}


def read_document(path: str | Path, error: type[Exception], kind: type = dict) -> Any:
    """Reads a JSON file.

    Args:
      path: of the file.
      error: the class that is raised, with one line, where the file is damaged.
      kind: dict or list, the outermost value.

    Raises:
      OSError: there is no such file, or it cannot be read.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as cause:
        raise error(f"{path} is damaged: byte {cause.start} is no UTF-8 text") from cause
    return parse_document(text, str(path), error, kind)


def parse_document(text: str | bytes, where: str, error: type[Exception], kind: type = dict) -> Any:
    """Reads JSON text, like `read_document`; an error message begins with `where`."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise error(f"{where} is damaged: its values are nested more than {DEPTH} deep") from None
    except ValueError as cause:
        raise error(f"{where} is damaged: not JSON ({escaped(str(cause), 160)})") from cause
    if _deeper(value, DEPTH):
        raise error(f"{where} is damaged: its values are nested more than {DEPTH} deep")
    if type(value) is not kind:
        raise error(f"{where} is damaged: it must be {KINDS[kind]}, not {shown(value)}")
    return value


def field_of(values: dict[str, Any], name: str, kind: type, where: str, error: type[Exception]) -> Any:
    """The field `name` of a document's mapping.

    Raises:
      error: it is absent, or of another type; true and false do not count as numbers.
    """
    if name not in values:
        raise error(f"{where} is damaged: it has no field {name!r}")
    value = values[name]
    if kind is float and type(value) is int:
        return value
    if type(value) is not kind:
        raise error(f"{where} is damaged: {name} must be {KINDS[kind]}, not {shown(value)}")
    return value


def shown(value: Any) -> str:
    """A value as text for a message: its repr, cut where it is long, without control characters."""
    try:
        return escaped(repr(value), SHOWN)
    except (RecursionError, ValueError):  # nested too deep; a whole number of thousands of digits
        return f"a value of type {type(value).__name__}"


def escaped(text: str, length: int | None = None) -> str:
    r"""Text that is safe in a terminal: control characters are written as `\x1b`; cut to `length`."""
    if length is not None and len(text) > length:
        text = text[: length - 3] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)


def _deeper(value: Any, depth: int) -> bool:
    """Whether lists and mappings are nested deeper; without recursion."""
    level = [value]
    for _ in range(depth + 1):
        level = [x for v in level if isinstance(v, (dict, list)) for x in (v.values() if isinstance(v, dict) else v)]
        if not level:
            return False
    return True
