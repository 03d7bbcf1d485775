"""Saving a run so that it can be killed at any moment, resuming it, and which checkpoints are kept."""

from __future__ import annotations

import dataclasses
import datetime
import math
import shutil
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal, NoReturn

import jax

from gan_jax import extras
from gan_jax.surgery.provenance import versions
from gan_jax.train.checkpoint import storage
from gan_jax.train.checkpoint.manifest import CheckpointError, DamagedError, make_manifest, to_host, to_json
from gan_jax.train.checkpoint.storage import Restored, read
from gan_jax.train.processes import gather, meet
from gan_jax.train.rows import cut_rows

# ----------------------------------------------------------------------------------------------------------------------
# Which checkpoints are kept, and the removal of others, which never look complete while they are removed.


def to_keep(folder: Path, last: int, best: Literal["min", "max"] | None) -> set[int]:
    """Images of the checkpoints to keep: the newest `last`, and, with `best`, the one with the best finite metric."""
    have = storage.complete(folder)
    keep = set(have[-last:])
    if best is not None:
        sign = 1 if best == "min" else -1
        scored = [(sign * metric, -step) for step in have if (metric := _metric(folder / str(step))) is not None]
        keep |= {-step for _, step in sorted(scored)[:1]}
    return keep


def remove_others(folder: Path, keep: set[int]) -> None:
    """Removes the other complete checkpoints, and the rest of an interrupted removal."""
    for step in set(storage.complete(folder)) - keep:
        # Renamed first: a half-removed folder must not look like a checkpoint.
        (folder / str(step)).rename(folder / f"{step}.removed")
    for path in folder.glob("*.removed"):
        shutil.rmtree(path, ignore_errors=True)


def _last_written(path: Path) -> float:
    """When anything in a folder was last written, Unix time, s; inf where files come and go while it is asked."""
    try:
        return max(p.stat().st_mtime for p in [path, *path.rglob("*")])
    except FileNotFoundError:  # a lock of a write that goes on in the background
        return float("inf")


def remove_leftovers(folder: Path, names: dict[str, float]) -> dict[str, float]:
    """Removes unfinished saves, `{name: Unix time, s}`, that have not been written to since their time.

    Returns:
      The others, with the time of this check.
    """
    busy = {}
    for name, since in names.items():
        path, now = folder / name, time.time()
        if not path.is_dir():
            continue
        if _last_written(path) < since:
            shutil.rmtree(path, ignore_errors=True)
        else:
            busy[name] = now
    return busy


def move_aside(folder: Path, steps: list[int]) -> Path:
    """Moves checkpoints into `aside-TIME/`, where they are neither read nor removed."""
    target = folder / f"aside-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    target.mkdir(exist_ok=True)
    for step in sorted(steps, reverse=True):  # newest first: if this is interrupted, the remaining ones are older
        (folder / str(step)).rename(target / str(step))
    return target


def _metric(path: Path) -> float | None:
    try:
        value = storage.read_manifest(path)["metric"]
    except CheckpointError:
        return None
    return value if value is not None and math.isfinite(value) else None


# ----------------------------------------------------------------------------------------------------------------------
# Checkpoints of a run, which can be killed at any moment and resumed from the newest.

PACKAGES = ("jax", "numpy", "orbax-checkpoint")  # packages whose versions a manifest records


class Checkpointer:
    """The checkpoints of one run, for the process (or processes) that trains it and holds the run's lock.

    A save copies the state to the host, hashes it (a few seconds per GB, less with more cores) and returns; writing
    goes on in the background, and arrays and manifest appear together or not at all. The next call raises its failure. Use
    `read` to read only, which changes nothing.

    Args:
      folder: of the checkpoints, `RUN/checkpoints`; created if absent.
      keep_last: number of newest checkpoints to keep.
      keep_best: whether to keep the one with the best metric too.
      best_mode: whether the best metric is the smallest or the largest.

    Raises:
      ImportError: Orbax is not installed; raised here and not at the first save.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        keep_last: int = 2,
        keep_best: bool = False,
        best_mode: Literal["min", "max"] = "min",
    ):
        if keep_last < 1 or best_mode not in ("min", "max"):
            raise ValueError(f"keep_last={keep_last} must be at least 1, best_mode={best_mode!r} 'min' or 'max'")
        extras.check("orbax.checkpoint", extra="checkpoint")
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._keep_last = keep_last
        self._best: Literal["min", "max"] | None = best_mode if keep_best else None
        self._leftovers = dict.fromkeys(
            storage.unfinished(self.folder), time.time()
        )  # name: Unix time since when it is unfinished
        self._writer: Any = None
        self._saving: int | None = None  # images of the save under way
        self._last: int | None = None  # images of the state last saved or restored here
        self._score: float | None = None  # metric of the state under way, where it is known since its save began

    def save(
        self,
        images: int,
        state: Any,
        *,
        cursor: dict[str, Any] | None = None,
        metric: float | None = None,
        history: list[Any] | None = None,
    ) -> None:
        """Starts to save a state, which may be donated as soon as this returns.

        Does nothing where the state with these images was the last to be saved or restored here.

        Args:
          images: real images shown so far, the name of the checkpoint.
          state: tree of arrays.
          cursor: position of this process's data pipeline, JSON.
          metric: compared by keep-best; where it is not known yet, `score` sets it later.
          history: provenance of the leaves for the manifest, JSON.

        Raises:
          CheckpointError: the previous save failed, a leaf cannot be saved, or there are newer checkpoints.
        """
        self._finish()
        if images == self._last:
            return
        newest = self.latest()
        if newest is not None and images <= newest:
            raise CheckpointError(
                f"cannot save {images} images: {self.folder} holds a checkpoint of {newest}. "
                f"Restore the one to go on from (newer ones are then moved aside), or use another folder"
            )
        arrays, entries = to_host(state)
        manifest = make_manifest(
            images, entries, gather(to_json(cursor)), metric, versions(PACKAGES, python=False), history
        )
        self._writer = self._writer or storage.make_writer()
        self._saving = images
        try:
            storage.write(self._writer, self._path(images), arrays, manifest)
        except Exception as error:  # noqa: BLE001  whatever the storage raises
            self._fail(error)
        self._last = images

    def score(self, images: int, metric: float | None) -> None:
        """Sets the metric of the state last saved or restored; does nothing for any other state, or for None.

        Raises:
          CheckpointError: the save failed, or the manifest is damaged.
        """
        if metric is None or images != self._last:
            return
        self._score = metric
        if self._saving is None:
            self._write_score()

    def forget(self, images: Collection[int]) -> list[int]:
        """Removes the metrics of complete checkpoints, and returns the images of those that had one.

        A checkpoint that was kept only for its metric is moved to `aside-TIME/`, where nothing removes it.

        Args:
          images: of the checkpoints.

        Raises:
          CheckpointError: a manifest is damaged.
        """
        complete = [step for step in storage.complete(self.folder) if step in images]
        scored = [step for step in complete if storage.read_manifest(self._path(step))["metric"] is not None]
        for step in scored:
            storage.write_metric(self._path(step), None)
        if outdated := sorted(set(scored) - to_keep(self.folder, self._keep_last, None)):
            move_aside(self.folder, outdated)
        return scored

    def check(self) -> None:
        """Raises the failure of the save under way, if there is one; else it costs a file-system look-up."""
        if self._saving is None:
            return
        if self._path(self._saving).is_dir():
            self._finish()
            return
        try:
            self._writer.check_for_errors()
        except Exception as error:  # noqa: BLE001
            self._fail(error)

    def restore(self, template: Any, *, images: int | None = None, fallback: bool = False) -> Restored:
        """Reads a checkpoint to resume from, as `read`, and moves newer checkpoints to `aside-TIME/`."""
        self._finish()
        restored = read(self.folder, template, images=images, fallback=fallback)
        newer = [step for step in storage.complete(self.folder) if step > restored.images]
        notes = restored.notes
        meet("gan_jax: newer checkpoints listed")
        if newer and jax.process_index() == 0:
            target = move_aside(self.folder, newer)
            notes += (f"moved newer checkpoints {', '.join(map(str, newer))} to {target}",)
        meet("gan_jax: newer checkpoints moved")
        self._last = restored.images
        return dataclasses.replace(restored, notes=notes)

    def latest(self) -> int | None:
        """Images of the newest complete checkpoint."""
        return max(storage.complete(self.folder), default=None)

    def unfinished(self) -> list[str]:
        """Names of unfinished saves, which are never read."""
        mine = None if self._saving is None else f"{self._saving}{storage.UNFINISHED}"
        return [name for name in storage.unfinished(self.folder) if name != mine]

    def wait(self) -> None:
        """Waits until the save under way is on disk, or raises its failure."""
        self._finish()

    def close(self) -> None:
        """Waits for the save under way and ends the threads; the object cannot be used afterwards."""
        try:
            self._finish()
            if jax.process_index() == 0:
                self._leftovers = remove_leftovers(self.folder, self._leftovers)
        finally:
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    def __enter__(self) -> Checkpointer:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self.close()
        except CheckpointError:
            if kind is None:  # the exception that is under way matters more
                raise

    # -- the end of a save ---------------------------------------------------------------------

    def _finish(self) -> None:
        if self._saving is None:
            return
        try:
            self._writer.wait_until_finished()
            if not self._path(self._saving).is_dir():
                raise OSError("it was not committed")
        except Exception as error:  # noqa: BLE001
            self._fail(error)
        self._saving = None
        if self._score is not None:
            self._write_score()
        elif jax.process_index() == 0:
            self._prune()

    def _write_score(self) -> None:
        metric, self._score = self._score, None
        assert metric is not None and self._last is not None
        if jax.process_index() == 0:
            storage.write_metric(self._path(self._last), metric)
            self._prune()

    def _fail(self, error: Exception) -> NoReturn:
        images, self._saving, self._last, self._score = self._saving, None, None, None
        # The folder stays: other threads of Orbax may still write to it. A save of these images replaces it.
        self._leftovers[f"{images}{storage.UNFINISHED}"] = time.time()
        last = self.latest()
        raise CheckpointError(
            f"saving {images} images to {self.folder} failed: {storage.one_line(error)}. "
            + ("No checkpoint is complete" if last is None else f"The last complete checkpoint has {last} images")
        ) from error

    def _prune(self) -> None:
        remove_others(self.folder, to_keep(self.folder, self._keep_last, self._best))
        # Safe only now: this run is past the interrupted save and holds the lock.
        self._leftovers = remove_leftovers(self.folder, self._leftovers)

    def _path(self, images: int) -> Path:
        return self.folder / str(images)


__all__ = ["CheckpointError", "Checkpointer", "DamagedError", "Restored", "cut_rows", "read"]
