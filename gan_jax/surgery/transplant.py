"""Execution of a plan, leaf by leaf, on host or devices, with a report of each leaf."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from gan_jax.surgery.ops import Op, Step, lookup, run_steps
from gan_jax.surgery.ops.width import reading
from gan_jax.surgery.plan import Plan, PlanEntry, PlanError, align
from gan_jax.trees import Tree, did_you_mean, digest, digest_blocks, flatten, unflatten

# ----------------------------------------------------------------------------------------------------------------------
# Where a leaf's operations run, and its digest where no host has it whole.
#
# Leaves on the host or on one device go through NumPy, which compiles nothing. Leaves that are spread over devices stay
# there: their operations are compiled for the target's sharding, and their values reach the host in bounded blocks only.

BLOCK_BYTES = 1 << 24  # of a spread leaf on the host at a time


def is_key(array: Any) -> bool:
    """Whether an array, or a spec, is of typed PRNG keys."""
    return jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key)


def is_spread(array: Any) -> bool:
    """Whether an array lives on several devices."""
    return isinstance(array, jax.Array) and len(array.sharding.device_set) > 1


def digest_of(array: Any, block_bytes: int = BLOCK_BYTES) -> str | None:
    """`trees.digest` of any array, at most `block_bytes` of a spread one on the host at a time.

    None where other processes hold parts of it.
    """
    array = jax.random.key_data(array) if is_key(array) else array
    if not is_spread(array):
        return digest(array)
    if not array.is_fully_addressable:
        return None
    return digest_blocks(array, _blocks(array, block_bytes))


def place(value: Any, where: Sharding | None) -> Any:
    """A value on its devices; None = as a NumPy array on the host."""
    if where is None:
        return value if is_key(value) else np.asarray(value)
    if is_spread(value) and _order(value.sharding) != _order(where):
        value = _on_one(value)
    return jax.device_put(value, where)


def run_leaf(
    steps: Sequence[Step],
    sources: Sequence[Any],
    fresh: Any,
    where: Sharding | None,
    known: tuple[Sequence[str], dict[Any, Any]] = ((), {}),
) -> Any:
    """The result of a leaf's operations, where it belongs; it shares no memory with its sources.

    Args:
      steps: operations with their arguments.
      sources: arrays on the host, on one device, or spread.
      fresh: the target's fresh value, or None where nothing reads it.
      where: the target's sharding; None = the host.
      known: names of the sources, and what operations have found about leaves of these names (`ops.width.reading`).
    """
    inputs = [x for x in (*sources, fresh) if x is not None]
    if not any(map(is_spread, inputs)):
        local = [x if x is None or is_key(x) else np.asarray(x) for x in (*sources, fresh)]
        with reading(local, *known):
            value = run_steps(steps, local[:-1], local[-1])
        # A leaf that came along as it was shares its memory (on CPU, device_put shares too): a state that is
        # donated, or an array that is written to, must not take source or target with it.
        if not isinstance(value, np.ndarray) or any(np.may_share_memory(value, x) for x in local if x is not None):
            value = value.copy()
        return place(value, where)
    home = where if where is not None and len(where.device_set) > 1 else next(filter(is_spread, inputs)).sharding
    moved = [None if x is None else _bring(x, home) for x in (*sources, fresh)]
    out = home if home is where else None
    return place(_compiled(json.dumps(list(steps)), out)(moved[:-1], moved[-1]), where)


@functools.lru_cache(maxsize=256)
def _compiled(steps: str, out: Sharding | None) -> Any:
    def run(sources: Sequence[Any], fresh: Any) -> jax.Array:
        # jnp.copy: a result that is an input must have memory of its own here, too
        return jnp.copy(run_steps([(name, args) for name, args in json.loads(steps)], sources, fresh))

    return jax.jit(run, out_shardings=out)


def _bring(array: Any, home: Sharding) -> Any:
    """An array on the devices of `home`, in their order, split along the first axis that they divide."""
    if isinstance(array, jax.Array) and _order(array.sharding) == _order(home):
        return array
    if is_spread(array):
        array = _on_one(array)
    mesh = _mesh(home)
    axis = next((i for i, n in enumerate(array.shape) if n and n % mesh.size == 0), None)
    spec = PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, tuple(mesh.axis_names))
    return jax.device_put(array, NamedSharding(mesh, spec))


def _on_one(array: jax.Array) -> jax.Array:
    """A spread array whole on one of its devices: from one set of devices to another, JAX itself goes by the host."""
    everywhere = NamedSharding(_mesh(array.sharding), PartitionSpec())
    return jax.jit(jnp.copy, out_shardings=everywhere)(array).addressable_data(0)


def _mesh(sharding: Sharding) -> Any:
    return sharding.mesh if isinstance(sharding, NamedSharding) else Mesh(np.array(_order(sharding)), ("all",))


def _order(sharding: Any) -> list[Any]:
    if isinstance(sharding, NamedSharding):
        return list(np.ravel(np.asarray(sharding.mesh.devices)))
    return sorted(sharding.device_set, key=lambda device: device.id)


def _blocks(array: jax.Array, block_bytes: int) -> Iterator[np.ndarray]:
    """The values in C order: as many rows at a time, of the first axis whose rows are small enough, as fit."""
    shape, item = array.shape, array.dtype.itemsize
    small = (k for k in range(len(shape)) if math.prod(shape[k + 1 :]) * item <= block_bytes)
    axis = next(small, max(len(shape) - 1, 0))
    rows = max(1, block_bytes // max(1, math.prod(shape[axis + 1 :]) * item))
    starts = range(0, shape[axis], rows) if shape else [None]
    for prefix in itertools.product(*map(range, shape[:axis])):
        for start in starts:
            along = [] if start is None else [(start, min(start + rows, shape[axis]))]
            yield _block(array, [*((i, i + 1) for i in prefix), *along, *((0, n) for n in shape[axis + 1 :])])


def _block(array: jax.Array, ranges: list[tuple[int, int]]) -> np.ndarray:
    out = np.empty([stop - start for start, stop in ranges], array.dtype)
    for shard in array.addressable_shards:
        if shard.replica_id != 0:
            continue
        held = [part.indices(n)[:2] for part, n in zip(shard.index, array.shape)]
        both = [(max(a, c), min(b, d)) for (a, b), (c, d) in zip(ranges, held)]
        if any(a >= b for a, b in both):
            continue
        # Cut on the device: asking for the whole shard would leave a copy of it on the host for as long as it lives.
        first, sizes = [a - c for (a, _), (c, _) in zip(both, held)], [b - a for a, b in both]
        index = tuple(slice(a - c, b - c) for (a, b), (c, _) in zip(both, ranges))
        out[index] = np.asarray(jax.lax.dynamic_slice(shard.data, first, sizes))
    return out


# ----------------------------------------------------------------------------------------------------------------------
# The execution and its report.

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
