"""Differences between two sources of weights, leaf by leaf; leaves of equal digests are not read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from gan_jax.interop.source import Source
from gan_jax.surgery.plan import align
from gan_jax.surgery.transplant import is_key
from gan_jax.trees import TreeError, did_you_mean, match

KINDS = {
    "only A": "only in A",
    "only B": "only in B",
    "shape": "of another shape or dtype",
    "values": "of other values",
    "equal": "equal",
}


@dataclasses.dataclass(frozen=True)
class LeafDifference:
    """One leaf: which of `KINDS`, how it is in A and in B; where values differ, by how much.

    Attributes:
      path: of the leaf.
      kind: a key of `KINDS`.
      a: `float32[3,3,24,24]` in A; empty where A lacks it.
      b: the same in B.
      largest: max |a - b|; nan where there are nans.
      relative: that, over max |a|.
    """

    path: str
    kind: str
    a: str = ""
    b: str = ""
    largest: float | None = None
    relative: float | None = None


@dataclasses.dataclass(frozen=True)
class Diff:
    """All compared leaves, A's order first. `print(diff)` is a table of what differs, and the totals."""

    rows: tuple[LeafDifference, ...]

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return all(row.kind == "equal" for row in self.rows)

    @property
    def totals(self) -> dict[str, int]:
        """How many leaves there are of each kind."""
        return {kind: sum(row.kind == kind for row in self.rows) for kind in KINDS}

    def __str__(self) -> str:
        """The table."""
        number = lambda x: "" if x is None else f"{x:.3g}"
        rows = [
            (r.path, KINDS[r.kind], r.a, "" if r.kind == "values" else r.b, number(r.largest), number(r.relative))
            for r in self.rows
            if r.kind != "equal"
        ]
        head = ("leaf", "is", "A", "B", "max |a-b|", "/ max |a|")
        table = align([head, *rows], right=(4, 5)) if rows else []
        totals = ", ".join(f"{n} {KINDS[kind]}" for kind, n in self.totals.items() if n)
        return "\n".join([*table, f"{len(self.rows)} leaves: {totals}"])


def compare(a: Source, b: Source, pattern: str = "**") -> Diff:
    """Compares two sources.

    Args:
      a: the first.
      b: the second.
      pattern: over leaf paths; others are not compared.

    Raises:
      TreeError: no leaf is covered by the pattern.
      WeightsError, CheckpointError: a leaf that had to be read is damaged.
    """
    ours, theirs = a.manifest["leaves"], b.manifest["leaves"]
    every = dict.fromkeys([*ours, *theirs])
    paths = [path for path in every if match(pattern, path)]
    if not paths:
        raise TreeError(f"no leaf is covered by {pattern!r}{did_you_mean(pattern, every)}")
    return Diff(tuple(_compare(path, ours.get(path), theirs.get(path), a, b) for path in paths))


def difference(a: Any, b: Any) -> tuple[float, float]:
    """(max |a - b|, that over max |a|) of two arrays of one shape, in float64; of keys, of their data."""
    x, y = (np.asarray(jax.random.key_data(v) if is_key(v) else v).astype(np.float64) for v in (a, b))
    with np.errstate(invalid="ignore"):  # inf - inf
        largest, scale = float(np.abs(x - y).max(initial=0.0)), float(np.abs(x).max(initial=0.0))
    return largest, largest / scale if scale else float("inf") if largest else 0.0


def spell(leaf: Mapping[str, Any]) -> str:
    """`float32[3,3,1,24]`, of a manifest's leaf."""
    return f"{leaf['dtype']}[{','.join(map(str, leaf['shape']))}]"


def _compare(
    path: str, ours: Mapping[str, Any] | None, theirs: Mapping[str, Any] | None, a: Source, b: Source
) -> LeafDifference:
    if ours is None or theirs is None:
        here, there = (spell(leaf) if leaf else "" for leaf in (ours, theirs))
        return LeafDifference(path, "only A" if ours else "only B", here, there)
    here, there = spell(ours), spell(theirs)
    if here != there:
        return LeafDifference(path, "shape", here, there)
    if ours["digest"] and ours["digest"] == theirs["digest"]:
        return LeafDifference(path, "equal", here, there)
    first, second = a(path), b(path)
    if not ours["digest"] or not theirs["digest"]:  # no process held it whole when it was saved
        raw = lambda x: np.asarray(jax.random.key_data(x) if is_key(x) else x).tobytes()
        if raw(first) == raw(second):
            return LeafDifference(path, "equal", here, there)
    return LeafDifference(path, "values", here, there, *difference(first, second))
