"""Executes a plan, leaf by leaf, and reports what happened to each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from gan_jax.surgery.ops import run_steps
from gan_jax.surgery.plan import Entry, Plan, PlanError
from gan_jax.surgery.table import align
from gan_jax.trees import Tree, did_you_mean, digest, flatten, unflatten

Reader = Callable[[str], Any]  # path -> array


@dataclasses.dataclass(frozen=True)
class Done:
    """What happened to one leaf: the entry that was executed, and sha256 digests of what was read and written."""

    target: str
    op: str
    args: dict[str, Any]
    sources: dict[str, str]  # path -> digest
    digest: str


@dataclasses.dataclass(frozen=True)
class Report:
    """One `Done` for each leaf, in the plan's order. `print(report)` is a table."""

    rows: tuple[Done, ...]

    def follows(self, plan: Plan) -> bool:
        """Whether exactly this plan was executed."""
        said = [(entry.target, entry.op, entry.args, entry.sources) for entry in plan.entries]
        return said == [(row.target, row.op, row.args, tuple(row.sources)) for row in self.rows]

    def to_dict(self) -> dict[str, Any]:
        """For a manifest, plain JSON values: target leaf -> operation, arguments, sources with digests, digest."""
        return {row.target: {k: v for k, v in dataclasses.asdict(row).items() if k != "target"} for row in self.rows}

    def __str__(self) -> str:
        """A table of leaves, operations and the first digits of the digests."""
        short = lambda row: " + ".join(f"{path}@{value[:8]}" for path, value in row.sources.items()) or "-"
        rows = [(row.target, row.op, short(row), row.digest[:8]) for row in self.rows]
        return "\n".join(align([("target", "op", "source @ digest", "digest"), *rows]))


def transplant(plan: Plan, source: Tree | Reader, target: Tree) -> tuple[Tree, Report]:
    """Fills a tree as planned.

    Args:
      plan: from `make_plan`, or read back from its JSON.
      source: the tree that the plan was made for, or a function `path -> array` that reads a leaf when it is needed.
      target: the tree to fill, with fresh values; it is not changed. Results have its structure, kind of array
        (NumPy or JAX) and sharding.

    Returns:
      the new tree, and the report.

    Raises:
      PlanError: the trees are not those that the plan was made for.
    """
    fresh = flatten(target)
    entries = {entry.target: entry for entry in plan.entries}
    if len(entries) != len(plan.entries):
        raise PlanError("this plan names a target leaf twice")
    for path in fresh:
        if path not in entries:
            raise PlanError(f"the plan has no target leaf {path!r}{did_you_mean(path, entries)}; make it anew")
    read = source if callable(source) else _reader(flatten(source))
    filled, rows = {}, []
    for path, entry in entries.items():
        if path not in fresh:
            raise PlanError(f"the plan's leaf {path!r} is not in the target{did_you_mean(path, fresh)}; make it anew")
        _expect(f"target leaf {path!r}", fresh[path], entry.target_shape, entry.target_dtype)
        arrays = [read(name) for name in entry.sources]
        for name, array, shape in zip(entry.sources, arrays, entry.source_shapes):
            _expect(f"source leaf {name!r}", array, shape)
        filled[path] = _apply(entry, arrays, fresh[path])
        sources = {name: digest(array) for name, array in zip(entry.sources, arrays)}
        rows.append(Done(path, entry.op, entry.args, sources, _digest(filled[path])))
    return unflatten(filled, like=target), Report(tuple(rows))


def _apply(entry: Entry, arrays: list[Any], fresh: Any) -> Any:
    value = run_steps(entry.steps, [_local(a) for a in arrays], _local(fresh))
    _expect(f"the result for {entry.target!r}", value, entry.target_shape, entry.target_dtype)
    # A leaf that came along as it was shares its memory (on CPU, device_put shares too): a state that is donated, or
    # an array that is written to, must not take source or target with it.
    value = value.copy()
    return jax.device_put(value, fresh.sharding) if isinstance(fresh, jax.Array) else value


def _local(array: Any) -> Any:
    """Arrays on one device become NumPy's, which need no compilation; others, and keys, stay as they are."""
    if isinstance(array, jax.Array) and not _is_key(array) and len(array.devices()) == 1:
        return np.asarray(array)
    return array


def _is_key(array: Any) -> bool:
    return isinstance(array, jax.Array) and jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key)


def _digest(array: Any) -> str:
    return digest(jax.random.key_data(array) if _is_key(array) else array)


def _reader(flat: Mapping[str, Any]) -> Reader:
    def read(path: str) -> Any:
        if path not in flat:
            raise PlanError(f"the plan reads {path!r}, which the source lacks{did_you_mean(path, flat)}; make it anew")
        return flat[path]

    return read


def _expect(what: str, array: Any, shape: tuple[int, ...], dtype: str | None = None) -> None:
    if tuple(array.shape) != shape or dtype not in (None, str(array.dtype)):
        found = f"{array.dtype}{list(array.shape)}"
        raise PlanError(f"{what} is {found}, but the plan says {dtype or ''}{list(shape)}; make the plan anew")
