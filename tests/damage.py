"""Documents of our own formats, damaged in many ways: the same ways on every machine."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

WRONG: list[Any] = [
    None, True, False, -1, 0, 2**30, 2**70, 10**20, 10**400, 1.5, float("nan"), float("inf"), "", "x", "\x1b[31mred\x07",
    "a" * 5000, [], {}, [None], {"kind": 3}, {"kind": []}, [[[[1]]]], ["\x00"],
]  # fmt: skip


def damaged(document: Any, seed: int, count: int = 60) -> Iterator[tuple[str, bytes]]:
    """`(what was done, the file's bytes)`: whole texts that are no document, then single values changed or gone."""
    text = json.dumps(document)
    yield from {
        "empty": b"", "half": text[: len(text) // 2].encode(), "cut": text[:-1].encode(), "null": b"null", "list": b"[]",
        "number": b"3", "mapping": b"{}", "string": b'"x"', "zeros": b"\0" * 50, "not text": b"\xff\xfe" + text.encode(),
        "mark": b"\xef\xbb\xbf" + text.encode(), "deep lists": b"[" * 100_000 + b"]" * 100_000,
        "less deep lists": b"[" * 500 + b"]" * 500, "deep mappings": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        "digits": b"9" * 5000, "rest": text.encode() + b"{}",
    }.items()  # fmt: skip
    draw = random.Random(seed)
    places = list(_places(document))
    for _ in range(count - 16):
        changed = copy.deepcopy(document)
        place = draw.choice(places)
        parent = _at(changed, place[:-1])
        key, act = place[-1], draw.choice(("wrong", "wrong", "wrong", "gone", "more", "deep"))
        if act == "wrong":
            parent[key] = value = draw.choice(WRONG)
            act = f"{str(value)[:20]!r}"
        elif act == "gone":
            del parent[key]
        elif act == "deep":
            for _ in range(200):
                parent[key] = [parent[key]]
        elif isinstance(parent, dict):
            parent["\x1b]0;title\x07"] = parent.pop(key)
        else:
            parent.append({})
        yield f"{place}: {act}", json.dumps(changed).encode()


def survives(read: Callable[[Path], Any], path: Path, document: Any, seed: int) -> int:
    """Reads every damaged version; returns how many were refused.

    Each is read as it stands, or refused by an error of this package on lines that a terminal can show.
    """
    refused = 0
    for what, content in damaged(document, seed):
        path.write_bytes(content)
        try:
            read(path)
        except Exception as error:  # noqa: BLE001  which one it is, is the question
            text = str(error)
            assert type(error).__module__.startswith("gan_jax."), (what, repr(error)[:300])
            assert all(c.isprintable() or c == "\n" for c in text), (what, text[:300])
            assert 10 < len(text) < 2000, (what, text[:300])
            refused += 1
    return refused


def _places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*at, key)
        yield from _places(inner, (*at, key))


def _at(value: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        value = value[key]
    return value
