"""Executes a plan, leaf by leaf, and reports what happened to each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from gan_jax.surgery.devices import digest_of, run_leaf
from gan_jax.surgery.ops import Op, lookup
from gan_jax.surgery.plan import Plan, PlanEntry, PlanError
from gan_jax.surgery.table import align
from gan_jax.trees import Tree, did_you_mean, flatten, unflatten

Reader = Callable[[str], Any]  # path -> array


@dataclasses.dataclass(frozen=True)
class LeafReport:
    """What happened to one leaf: the entry that was executed, and sha256 digests of what was read and written.

    A digest is None where no process holds the leaf whole.
    """

    target: str
    op: str
    args: dict[str, Any]
    sources: dict[str, str | None]  # path -> digest
    digest: str | None


@dataclasses.dataclass(frozen=True)
class Report:
    """One `LeafReport` for each leaf, in the plan's order. `print(report)` is a table."""

    rows: tuple[LeafReport, ...]

    def follows(self, plan: Plan) -> bool:
        """Whether exactly this plan was executed."""
        planned = [(entry.target, entry.op, entry.args, entry.sources) for entry in plan.entries]
        return planned == [(row.target, row.op, row.args, tuple(row.sources)) for row in self.rows]

    def __str__(self) -> str:
        """A table of leaves, operations and the first digits of the digests."""
        brief = lambda digest: (digest or "-")[:8]
        short = lambda row: " + ".join(f"{path}@{brief(value)}" for path, value in row.sources.items()) or "-"
        rows = [(row.target, row.op, short(row), brief(row.digest)) for row in self.rows]
        return "\n".join(align([("target", "op", "source @ digest", "digest"), *rows]))


def reads_fresh(entry: PlanEntry) -> bool:
    """Whether an entry's operations read the target's fresh value, and not its dtype alone."""
    return any(op.fresh and not op.constant for op in _operations(entry))


def transplant(
    plan: Plan,
    source: Tree | Reader,
    target: Tree,
    *,
    init: Reader | None = None,
    digests: Mapping[str, str | None] | None = None,
) -> tuple[Tree, Report]:
    """Fills a tree as planned.

    With a reader as source, ShapeDtypeStructs as target and an `init` that frees what it returns (such as a dict's
    `pop`), no more than the result and the sources of one leaf are in memory at any time.

    Args:
      plan: from `make_plan`, or read back from its JSON.
      source: the tree that the plan was made for, or a function `path -> array` that reads a leaf when it is needed.
      target: the tree to fill, with fresh values; it is not changed. Results have its structure, kind of array
        (NumPy or JAX) and sharding. A leaf whose fresh value is not read, or comes from `init`, may be a
        ShapeDtypeStruct; without a sharding, its result is a NumPy array.
      init: `path -> fresh value` of a target leaf; called once for each leaf whose operations read it.
      digests: of source leaves, where they are known: of a reader that checks what it reads. Others are computed.

    Returns:
      the new tree, and the report.

    Raises:
      PlanError: the trees are not those that the plan was made for.
    """
    leaves = flatten(target)
    entries = {entry.target: entry for entry in plan.entries}
    if len(entries) != len(plan.entries):
        raise PlanError("this plan names a target leaf twice")
    for path in leaves:
        if path not in entries:
            raise PlanError(f"the plan has no target leaf {path!r}{did_you_mean(path, entries)}; make it again")
    for path, entry in entries.items():  # before anything is read
        if path not in leaves:
            raise PlanError(f"the plan's leaf {path!r} is not in the target{did_you_mean(path, leaves)}; make it again")
        _expect(f"target leaf {path!r}", leaves[path], entry.target_shape, entry.target_dtype)
        if init is None and reads_fresh(entry) and isinstance(leaves[path], jax.ShapeDtypeStruct):
            raise PlanError(
                f"{entry.op} reads the fresh value of target leaf {path!r}, which is only a shape here: "
                "give a target with values, or init=, a function path -> fresh value"
            )
    read = source if callable(source) else _reader(flatten(source))
    filled, rows = {}, []
    known: dict[str, str | None] = {path: digest for path, digest in (digests or {}).items() if digest}
    cache: dict[Any, Any] = {}
    for path, entry in entries.items():
        filled[path], row = _fill(entry, read, leaves[path], init, known, cache)
        rows.append(row)
    return unflatten(filled, like=target), Report(tuple(rows))


def _fill(
    entry: PlanEntry,
    read: Reader,
    leaf: Any,
    init: Reader | None,
    digests: dict[str, str | None],
    cache: dict[Any, Any],
) -> tuple[Any, LeafReport]:
    """Fills one leaf; its sources are freed on return, before the next leaf is read. `cache` keeps computed scores."""
    arrays = [read(name) for name in entry.sources]
    for name, array, shape in zip(entry.sources, arrays, entry.source_shapes):
        _expect(f"source leaf {name!r}", array, shape)
    fresh = None
    if not reads_fresh(entry) and any(op.constant for op in _operations(entry)):  # for its dtype: one value of memory
        fresh = np.broadcast_to(np.zeros((), leaf.dtype), entry.target_shape)
    elif reads_fresh(entry):
        fresh = leaf if init is None else init(entry.target)
        _expect(f"the fresh value for {entry.target!r}", fresh, entry.target_shape, entry.target_dtype)
    where = getattr(leaf, "sharding", None)
    value = run_leaf(entry.steps, arrays, fresh, where, (entry.sources, cache))
    _expect(f"the result for {entry.target!r}", value, entry.target_shape, entry.target_dtype)
    for name, array in zip(entry.sources, arrays):
        if name not in digests:
            digests[name] = digest_of(array)
    sources = {name: digests[name] for name in entry.sources}
    same = sources[entry.sources[0]] if entry.op == "copy" else None
    return value, LeafReport(entry.target, entry.op, entry.args, sources, same or digest_of(value))


def _operations(entry: PlanEntry) -> list[Op]:
    """The operations of an entry, and those that are nested in it."""
    names = [name for name, _ in entry.steps]
    nested = [args for name, args in entry.steps if name == "nested"]
    names += [
        name for args in nested for name in (args["op"], *(n for part in args["inputs"] for n, _ in part["steps"]))
    ]
    return [lookup(name) for name in names]


def _reader(flat: Mapping[str, Any]) -> Reader:
    def read(path: str) -> Any:
        if path not in flat:
            raise PlanError(f"the plan reads {path!r}, which the source lacks{did_you_mean(path, flat)}; make it again")
        return flat[path]

    return read


def _expect(what: str, array: Any, shape: tuple[int, ...], dtype: str | None = None) -> None:
    if tuple(array.shape) != shape or dtype not in (None, str(array.dtype)):
        actual = f"{array.dtype}{list(array.shape)}"
        raise PlanError(f"{what} is {actual}, but the plan says {dtype or ''}{list(shape)}; make the plan again")
