"""Where a leaf's operations run, and its digest where no host has it whole.

Leaves on the host or on one device go through NumPy, which compiles nothing. Leaves that are spread over devices stay
there: their operations are compiled for the target's sharding, and their values reach the host in bounded blocks only.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from gan_jax.surgery.ops import Step, run_steps
from gan_jax.surgery.ops.width import reading
from gan_jax.trees import digest, digest_blocks

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
