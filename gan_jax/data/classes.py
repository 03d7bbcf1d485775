"""Numbers of class names: whole numbers by their value, other names in natural order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Numbered(NamedTuple):
    """Names turned into labels."""

    labels: np.ndarray  # [N] int32
    names: tuple[str, ...]  # by label
    note: str | None  # how names map to labels, where that is not obvious


def whole_number(text: str) -> int | None:
    """The whole number that a text spells: `7`, `07`, `7.0`; None for any other text."""
    match = _WHOLE.fullmatch(text.strip())
    return int(match[1]) if match else None


_WHOLE = re.compile(r"([+-]?[0-9]{1,18})(?:\.0*)?")


def natural(name: str) -> tuple[Any, ...]:
    """The sort key of a name: numbers in it by value, the rest as text; the name itself breaks ties."""
    parts = re.split(r"([0-9]+)", name)
    return (*((int(part[:4000]), "") if i % 2 else (-1, part) for i, part in enumerate(parts)), (-2, name))


def number_names(labels: Sequence[str], what: str) -> Numbered:
    """Names numbered in natural order; names that are 0 .. n-1 keep their numbers.

    Args:
      labels: a name for each image.
      what: kind of the names, for the note.
    """
    names = set(Counter(labels))
    values = {name: int(name) for name in names if re.fullmatch(r"[0-9]{1,18}", name)}
    numeric = len(values) == len(names)
    ordered = tuple(sorted(names, key=lambda name: (values[name], name) if numeric else natural(name)))
    index = {name: i for i, name in enumerate(ordered)}
    note = None
    if numeric and [values[name] for name in ordered] != list(range(len(ordered))):
        mapping = ", ".join(f"{name} -> {i}" for i, name in enumerate(ordered[:20])) + (
            " ..." if len(ordered) > 20 else ""
        )
        note = f"the {what} are whole numbers, but not 0 .. {len(ordered) - 1}: their labels are {mapping}"
    return Numbered(np.array([index[label] for label in labels], np.int32), ordered, note)


def gap_note(labels: np.ndarray) -> str | None:
    """A sentence about labels that are not 0 .. n-1; None where they are."""
    present = np.unique(labels)
    if int(present.max()) < len(present):
        return None
    labels_text = ", ".join(map(str, present[:20].tolist())) + (" ..." if len(present) > 20 else "")
    return f"the labels are {labels_text}: not 0 .. {len(present) - 1}, as which a conditional network numbers them in this order"
