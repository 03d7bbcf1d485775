"""Checkpoints on disk, which Orbax writes: listing, reading, and its log messages."""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax import extras, trees
from gan_jax.files import replace
from gan_jax.train.checkpoint.manifest import (
    CheckpointError,
    DamagedError,
    Entry,
    check_fit,
    parse_manifest,
    place,
    scored,
    verify,
)
from gan_jax.train.compile import MemoryLimitError, first_line, is_memory_limit, memory_limits

# ----------------------------------------------------------------------------------------------------------------------
# Silences the logging of Orbax about errors that it raises too: a failed save or restore is one message here.

_hooks: list[Any] = []  # the installed hook


def silence_orbax_logging() -> None:
    """Filters Orbax's tracebacks from the logs, and the errors of its abandoned reads and writes.

    When an array fails, Orbax closes its event loop while the others still use it; Python reports each of their errors as
    an exception that nobody can catch. All other messages pass.
    """
    for logger in map(logging.getLogger, ("absl", "asyncio")):
        if _not_from_orbax not in logger.filters:
            logger.addFilter(_not_from_orbax)
    if not _hooks:
        before = sys.unraisablehook

        def hook(event: Any) -> None:
            if not (event.object is None and str(event.exc_value) == "Event loop is closed"):
                before(event)

        _hooks.append(hook)
        sys.unraisablehook = hook


def _not_from_orbax(record: logging.LogRecord) -> bool:
    return not ("orbax" in record.pathname or "orbax/checkpoint" in record.getMessage())


# ----------------------------------------------------------------------------------------------------------------------
# Checkpoints on disk: listing, reading and writing them. Only this module knows the layout of Orbax.
#
#     FOLDER/48000/state/...               arrays, in Orbax's format
#     FOLDER/48000/manifest/manifest.json  see checkpoint_format
#     FOLDER/52000.orbax-checkpoint-tmp/   an unfinished save, never read
#     FOLDER/aside-20260102-030405/60000/  newer than the checkpoint of a resumed run
#
# Orbax writes into the temporary folder and renames it, so a folder whose name is a number is complete. Local and
# mounted POSIX file systems only.

UNFINISHED = ".orbax-checkpoint-tmp"  # Orbax's suffix
MANIFEST = "manifest.json"
REMEDY = "close other programs, or read it on a machine with more; the checkpoint itself is not in question"


@dataclasses.dataclass(frozen=True)
class Restored:
    """A restored checkpoint: the state, this process's data cursor, its images, and log messages."""

    state: Any
    cursor: dict[str, Any] | None
    images: int
    notes: tuple[str, ...]


def complete(folder: Path) -> list[int]:
    """Images of the complete checkpoints, oldest first."""
    if not folder.is_dir():
        return []
    named = [p.name for p in folder.iterdir() if p.name.isdecimal() and p.is_dir()]
    return sorted(int(name) for name in named if str(int(name)) == name)  # 0100 is a foreign name


def unfinished(folder: Path) -> list[str]:
    """Names of unfinished saves."""
    return sorted(p.name for p in folder.iterdir() if p.name.endswith(UNFINISHED)) if folder.is_dir() else []


def read(folder: Path, template: Any, *, images: int | None = None, fallback: bool = False) -> Restored:
    """Reads a checkpoint without changing anything in the folder.

    Every process reads and checks complete arrays and keeps its shards: one path for any number of devices, at the cost of
    host memory for one state.

    Args:
      folder: of the checkpoints.
      template: a state of ShapeDtypeStructs (`jax.eval_shape`) or arrays; their shardings are applied.
      images: of the checkpoint; None = the newest complete one.
      fallback: whether an older one may be used where this one is damaged.

    Raises:
      CheckpointError: there is none, or its state does not fit the template.
      DamagedError: it is damaged, truncated or foreign, and no older one may be used or is intact.
    """
    have, notes = complete(folder), []
    if names := unfinished(folder):
        notes.append(f"ignored unfinished save{'s' * (len(names) > 1)} {', '.join(names)}: stopped while being written")
    if not have:
        raise CheckpointError(". ".join([f"no complete checkpoint in {folder}", *notes]))
    if images is None:
        images = have[-1]
    elif images not in have:
        raise CheckpointError(f"no checkpoint of {images} images in {folder}; there are {', '.join(map(str, have))}")
    older = [step for step in have if step < images]
    while True:
        try:
            state, cursor = _read_one(folder / str(images), template, images)
            break
        except DamagedError as error:
            if not older:
                raise DamagedError(f"{error}. There is no older checkpoint") from error
            if not fallback:
                raise DamagedError(f"{error}. One of {older[-1]} images is there; it is used if asked for") from error
            images = older.pop()
            notes.append(f"{error}; using that of {images} images, as asked")
    return Restored(state, cursor, images, tuple(notes))


def read_manifest(path: Path) -> dict[str, Any]:
    """Reads the manifest of a complete checkpoint, and checks its seal."""
    where = f"checkpoint {path}"
    try:
        text = (path / "manifest" / MANIFEST).read_text(encoding="utf-8")
    except OSError as error:
        raise DamagedError(f"{where} is foreign or damaged: no readable {MANIFEST} ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DamagedError(f"{where} is damaged: its manifest is not text ({one_line(error)})") from error
    return parse_manifest(text, int(path.name), where)


def write_metric(path: Path, metric: float | None) -> None:
    """Replaces the metric in the manifest of a complete checkpoint; None = not measured."""
    manifest = scored(read_manifest(path), metric)
    replace(path / "manifest" / MANIFEST, lambda part: part.write_text(json.dumps(manifest), encoding="utf-8"))


def read_leaves(path: Path, manifest: dict[str, Any], paths: list[str]) -> dict[str, np.ndarray]:
    """Reads and checks some leaves of a complete checkpoint, as host arrays. PRNG keys are their data.

    Raises:
      DamagedError: a leaf is damaged; names it.
    """
    entries = {leaf: manifest["leaves"][leaf] for leaf in paths}
    arrays = _read_arrays(path, entries)
    verify(arrays, entries, f"checkpoint {path}")
    return arrays


def _read_one(path: Path, template: Any, images: int) -> tuple[Any, Any]:
    where = f"checkpoint {path}"
    manifest = read_manifest(path)
    cursors, count = manifest["cursors"], jax.process_count()
    if len(cursors) != count:
        if any(cursor is not None for cursor in cursors):
            raise CheckpointError(f"{where} has the data cursors of {len(cursors)} processes; this run has {count}")
        cursors = [None] * count
    entries: dict[str, Entry] = manifest["leaves"]
    check_fit(entries, template, where)
    specs = trees.flatten(template)
    with memory_limits(where, REMEDY):
        arrays = _read_arrays(path, entries)
        verify(arrays, entries, where)
        placed = {p: place(arrays[p], entries[p], specs[p]) for p in specs}
    for p, leaf in placed.items():
        if leaf.dtype != specs[p].dtype:  # 64-bit leaves need jax_enable_x64
            raise CheckpointError(f"{where}: leaf {p!r} is {specs[p].dtype}, and JAX made it {leaf.dtype} here")
    return trees.unflatten(placed, like=template), cursors[jax.process_index()]


def _read_arrays(path: Path, entries: Mapping[str, Entry]) -> dict[str, np.ndarray]:
    """Reads leaves as host arrays; an error names the leaf that cannot be read."""
    where = f"checkpoint {path}"
    try:
        return _read_leaves(path, entries)
    except Exception as error:  # noqa: BLE001  damage makes Orbax and its storage raise anything
        if is_memory_limit(error):  # the checkpoint is intact
            raise MemoryLimitError(f"too little memory for {where} ({first_line(error)}): {REMEDY}") from error
        for leaf in entries if jax.process_count() == 1 else ():
            try:
                _read_leaves(path, {leaf: entries[leaf]})
            except Exception as cause:  # noqa: BLE001
                raise DamagedError(f"{where} is damaged: leaf {leaf!r} is unreadable ({one_line(cause)})") from error
        raise DamagedError(f"{where} is damaged: its arrays are unreadable ({one_line(error)})") from error


def _read_leaves(path: Path, entries: Mapping[str, Entry]) -> dict[str, np.ndarray]:
    ocp = orbax()
    paths = list(entries)
    as_numpy = trees.unflatten({p: ocp.RestoreArgs(restore_type=np.ndarray) for p in paths})
    item = trees.unflatten(dict.fromkeys(paths, 0))
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        _check_stored(reader.metadata(path.resolve() / "state"), entries)
        arguments = ocp.args.PyTreeRestore(item=item, restore_args=as_numpy, partial_restore=True)
        flat = trees.flatten(reader.restore(path.resolve() / "state", args=arguments))
    if wrong := [p for p in paths if not isinstance(flat.get(p), np.ndarray)]:
        raise ValueError(f"{wrong[0]} is absent")
    return flat


def _check_stored(metadata: Any, entries: Mapping[str, Entry]) -> None:
    """Checks the shapes of stored arrays against the manifest, before memory is allocated for them."""
    tree = getattr(getattr(metadata, "item_metadata", metadata), "tree", None)
    for path, leaf in trees.flatten(tree).items() if isinstance(tree, dict) else ():
        shape = getattr(leaf, "shape", None)
        if (
            path in entries
            and "impl" not in entries[path]
            and shape is not None
            and list(shape) != entries[path]["shape"]
        ):
            raise ValueError(f"{path} is stored as {list(shape)}, and its manifest says {entries[path]['shape']}")


def make_writer() -> Any:
    """Makes Orbax's asynchronous writer, for `write`."""
    ocp = orbax()
    # Folders that are created in the background would make the other threads of a failed save, and the end of the
    # process, wait for five minutes; created here they cost milliseconds.
    options = ocp.options.AsyncOptions(create_directories_asynchronously=False)
    handler = ocp.CompositeCheckpointHandler(
        composite_options=ocp.CompositeOptions(async_options=options),
        state=ocp.PyTreeCheckpointHandler(),
        manifest=ocp.JsonCheckpointHandler(filename=MANIFEST),
    )
    return ocp.AsyncCheckpointer(handler, async_options=options)


def write(writer: Any, path: Path, arrays: trees.Flat, manifest: dict[str, Any]) -> None:
    """Starts to write arrays and manifest, which one rename commits together."""
    ocp = orbax()
    state = ocp.args.PyTreeSave(trees.unflatten(arrays))
    writer.save(path.resolve(), args=ocp.args.Composite(state=state, manifest=ocp.args.JsonSave(manifest)))


def orbax() -> Any:
    """`orbax.checkpoint`, imported when the first checkpoint is written or read (half a second, or more when cold)."""
    module = extras.require("orbax.checkpoint", extra="checkpoint")
    silence_orbax_logging()
    return module


def one_line(error: BaseException) -> str:
    """The message of an exception on one line of limited length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:200]} ... {text[-95:]}"
