"""The contents of a checkpoint: host arrays by path, and a manifest that can verify them.

Orbax stores no digests of arrays: a flipped byte in a chunk silently restores wrong values. So every
checkpoint carries a manifest, committed in the same atomic step, with the shape, dtype and sha256 of every leaf and
a seal over itself. This module does not access the disk.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import trees
from gan_jax.documents import field_of, parse_document, shown

Entry = dict[str, Any]  # {"shape": [...], "dtype": "float32", "digest": hex or None, and of a PRNG key "impl": name}

FORMAT = "gan_jax checkpoint"
VERSION = 1
LARGEST = 1 << 46  # most bytes that a manifest may claim; no checkpoint has so many


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written or used; the message names it, the problem and the remedy."""


class DamagedError(CheckpointError):
    """A checkpoint is damaged, truncated or foreign: the only case in which an older one may be used instead."""


def to_host(state: Any) -> tuple[trees.Flat, dict[str, Entry]]:
    """Copies a state to the host: `({path: array}, {path: entry})`.

    The state may be donated afterwards. PRNG keys become their uint32 data.
    A leaf that is spread over several processes stays a (copied) `jax.Array`, which Orbax writes shard by shard; it
    has no digest, since no process has all of it.

    Raises:
      CheckpointError: a leaf could not be restored exactly.
    """
    flat = trees.flatten(state)
    for path, leaf in flat.items():
        if not isinstance(leaf, jax.Array | np.ndarray | np.generic):
            raise CheckpointError(f"leaf {path!r} is of type {type(leaf).__name__}; a checkpoint keeps arrays only")
        if leaf.size == 0:
            raise CheckpointError(f"leaf {path!r} has no values (shape {leaf.shape}): a checkpoint cannot keep it")
        if getattr(leaf, "weak_type", False):
            # It would be restored strongly typed: other promotions, other values, and a second compilation.
            raise CheckpointError(f"leaf {path!r} is weakly typed; make it with a dtype: jnp.asarray(x, {leaf.dtype})")
        if isinstance(leaf, jax.Array) and leaf.is_fully_addressable:
            leaf.copy_to_host_async()  # starts all copies before the first wait
    arrays, entries = {}, {}
    for path, leaf in flat.items():
        data = jax.random.key_data(leaf) if _is_key(leaf) else leaf
        on_host = not isinstance(data, jax.Array) or data.is_fully_addressable or data.is_fully_replicated
        # np.array copies; on CPU np.asarray is a view of a buffer that the next step overwrites.
        arrays[path] = np.array(data) if on_host else jnp.copy(data)
        entries[path] = describe(leaf) | {"digest": None}
        if _is_key(leaf):
            entries[path]["impl"] = str(jax.random.key_impl(leaf))
    for path, digest in _digests({p: a for p, a in arrays.items() if isinstance(a, np.ndarray)}).items():
        entries[path]["digest"] = digest
    return arrays, entries


def _digests(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    with ThreadPoolExecutor() as pool:  # hashing releases the interpreter's lock
        return dict(zip(arrays, pool.map(trees.digest, arrays.values()), strict=True))


def describe(leaf: Any) -> Entry:
    """Shape and dtype of an array or ShapeDtypeStruct as a manifest entry."""
    return {"shape": list(leaf.shape), "dtype": str(leaf.dtype)}


def place(array: np.ndarray, entry: Entry, spec: Any) -> jax.Array:
    """Places a host array with the sharding of the template's leaf, or on the default device."""
    impl = entry.get("impl")
    sharding = getattr(spec, "sharding", None)
    if sharding is not None and not sharding.is_fully_addressable:
        placed = jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])
        return jax.random.wrap_key_data(placed, impl=impl) if impl else placed
    # Copies: a jax array that shares memory with a numpy one could not be donated.
    leaf = jax.random.wrap_key_data(jnp.array(array), impl=impl) if impl else array
    if sharding is not None:
        return jax.device_put(leaf, sharding) if impl else jax.device_put(leaf, sharding, may_alias=False)
    return jnp.array(leaf)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


# -- the manifest ------------------------------------------------------------------------------


def make_manifest(
    images: int,
    entries: Mapping[str, Entry],
    cursors: list[Any],
    metric: float | None,
    versions: dict[str, str],
    history: list[Any] | None = None,
) -> dict[str, Any]:
    """Makes the manifest of a checkpoint, JSON values.

    Args:
      images: real images shown so far; also the name of the checkpoint.
      entries: of every leaf.
      cursors: data cursor of every process, in their order.
      metric: compared by keep-best, or None.
      versions: of the packages that wrote the checkpoint.
      history: provenance of the leaves (`surgery.provenance`); None = unknown.
    """
    body = {
        "format": FORMAT,
        "version": VERSION,
        "images": images,
        "metric": None if metric is None else float(metric),
        "cursors": cursors,
        "versions": versions,
        "leaves": dict(entries),
    }
    body |= {} if history is None else {"history": history}
    return body | {"seal": _seal(body)}


def parse_manifest(text: str, images: int, where: str) -> dict[str, Any]:
    """Parses a manifest, and checks its seal and the type of every field.

    Raises:
      DamagedError: it is not JSON, foreign, changed since it was written, or of another checkpoint.
      CheckpointError: its format is newer.
    """
    manifest = parse_document(text, f"{where}: its manifest", DamagedError)
    if manifest.get("format") != FORMAT:
        raise DamagedError(f"{where} is foreign or damaged: its manifest is not that of a {FORMAT}")
    if manifest.pop("seal", None) != _seal(manifest):
        raise DamagedError(f"{where} is damaged: its manifest was changed after it was written")
    _check_form(manifest, f"{where}: its manifest")
    if manifest["version"] > VERSION:
        raise CheckpointError(f"{where} has format {manifest['version']}; this gan_jax reads {VERSION}: upgrade")
    if manifest["images"] != images:
        raise DamagedError(f"{where} holds the checkpoint of {manifest['images']} images: was the folder renamed?")
    return manifest


def _check_form(manifest: dict[str, Any], where: str) -> None:
    """Checks the type of every field that is read; a valid seal may be foreign."""
    for name, kind in {"version": int, "images": int, "cursors": list, "leaves": dict}.items():
        field_of(manifest, name, kind, where, DamagedError)
    if not manifest["cursors"] or not all(cursor is None or isinstance(cursor, dict) for cursor in manifest["cursors"]):
        raise DamagedError(f"{where} is damaged: cursors must be a mapping or null for each process")
    for optional, kind in {"metric": float, "history": list, "versions": dict}.items():
        if manifest.get(optional) is not None:
            field_of(manifest, optional, kind, where, DamagedError)
    total = sum(
        bytes_of(entry, f"{where} is damaged: leaf {shown(path)}") for path, entry in manifest["leaves"].items()
    )
    if total > LARGEST:
        raise DamagedError(f"{where} is damaged: its leaves would take {total:,} bytes")


def bytes_of(entry: Any, where: str) -> int:
    """The size of a leaf in bytes, from its checked entry."""
    if not isinstance(entry, dict):
        raise DamagedError(f"{where} must be a mapping, not {shown(entry)}")
    shape, dtype, digest = entry.get("shape"), entry.get("dtype"), entry.get("digest")
    if not isinstance(shape, list) or not all(type(size) is int and 0 <= size <= LARGEST for size in shape):
        raise DamagedError(f"{where} has the shape {shown(shape)}")
    if not (digest is None or isinstance(digest, str)):
        raise DamagedError(f"{where} has the digest {shown(digest)}")
    try:
        impl = entry.get("impl")
        key = dtype if impl is None else str(jax.random.key(0, impl=impl).dtype)
        size = (jnp.dtype(dtype) if impl is None else np.dtype("uint32")).itemsize
    except (TypeError, ValueError, AttributeError):
        key = size = None
    if not isinstance(dtype, str) or size is None or key != dtype:
        raise DamagedError(f"{where} has the dtype {shown(dtype)}")
    return math.prod(shape) * size


def scored(manifest: Mapping[str, Any], metric: float | None) -> dict[str, Any]:
    """Replaces the metric and the seal of a parsed manifest."""
    body = {**manifest, "metric": None if metric is None else float(metric)}
    return body | {"seal": _seal(body)}


def _seal(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def to_json(cursor: Any) -> Any:
    """Checks that JSON preserves a cursor, and returns it."""
    try:
        again = json.loads(json.dumps(cursor))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"the data cursor is not JSON: {error}") from error
    if again != cursor:
        raise CheckpointError(f"JSON changes the data cursor (tuples, or keys not strings?): {str(cursor)[:200]}")
    return again


# -- checks ------------------------------------------------------------------------------------


def check_fit(entries: Mapping[str, Entry], template: Any, where: str) -> None:
    """Checks that a checkpoint has the leaves of a run's state.

    Raises:
      CheckpointError: a leaf does not fit; names the first, both shapes, the nearest names, and the number of others.
    """
    specs = {path: describe(spec) for path, spec in trees.flatten(template).items()}
    problems = []
    for path, spec in specs.items():
        if path not in entries:
            near = _did_you_mean(path, set(entries) - set(specs), entries)
            problems.append(f"the run has leaf {path!r} {spell(spec)}, which the checkpoint lacks{near}")
        elif (theirs := spell(entries[path])) != spell(spec):
            problems.append(f"leaf {path!r} is {theirs} in the checkpoint and {spell(spec)} in the run")
    for path in sorted(set(entries) - set(specs)):
        near = _did_you_mean(path, set(specs) - set(entries), specs)
        problems.append(f"the checkpoint has leaf {path!r} {spell(entries[path])}, which the run lacks{near}")
    if problems:
        more = f" (and {len(problems) - 1} more leaves do not fit)" if len(problems) > 1 else ""
        raise CheckpointError(f"{where} does not fit this run: {problems[0]}{more}. Was it saved with another config?")


def verify(arrays: Mapping[str, np.ndarray], entries: Mapping[str, Entry], where: str) -> None:
    """Compares every leaf with its digest.

    Raises:
      DamagedError: the bytes of a leaf differ; names the first.
    """
    digests = _digests({p: arrays[p] for p, entry in entries.items() if entry["digest"]})
    wrong = [p for p, digest in digests.items() if digest != entries[p]["digest"]]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise DamagedError(f"{where} is damaged: the bytes of leaf {wrong[0]!r}{more} are not those that were saved")


def spell(entry: Entry) -> str:
    """`float32[3,3,1,24]`."""
    return f"{entry['dtype']}[{','.join(map(str, entry['shape']))}]"


def _did_you_mean(path: str, names: set[str], entries: Mapping[str, Entry]) -> str:
    close = trees.nearest(path, sorted(names)) or trees.nearest(path, list(entries))
    return f" (nearest: {', '.join(f'{name!r} {spell(entries[name])}' for name in close[:2])})" if close else ""
