"""Grain pipelines: endless shuffled batches whose position can be saved, restored and checked.

The order is one endless global stream of epochs. The seed shuffles each epoch differently, and draws for each sample
whether it is mirrored. Process p of P takes the p-th of P equal parts of each batch, so that the k-th batches of all
processes together do not depend on P. A position is one number: the batches taken so far.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from gan_jax.data.convert import Fit, Shape
from gan_jax.data.images import DataError, Images
from gan_jax.data.sources import fit_images, open_source
from gan_jax.data.tfds_source import TfdsSource
from gan_jax.extras import require
from gan_jax.seeds import SeedError, word_of

Batch = dict[str, np.ndarray]  # {"image": uint8 [B, H, W, C], "label": int32 [B]}

_CURSOR_VERSION = 1
ORDER_SAMPLES = 64  # positions of the global order that a cursor's hash covers


class CursorError(DataError):
    """A cursor that belongs to another pipeline; the message lists what differs."""


class Pipeline(Iterator[Batch]):
    """An endless iterator of batches with a cursor; made by `make_pipeline`. Close it, or use it in a `with` block."""

    def __init__(self, batches: Any, identity: dict[str, Any], workers: int, threads: int):
        self._batches = batches  # grain.MapDataset of local batches, endless
        self._identity = identity
        self._workers = workers
        self._threads = threads
        self._taken = 0
        self._iterator: Any = None

    def __next__(self) -> Batch:
        if self._iterator is None:
            self._iterator = self._start()
        batch = next(self._iterator)
        self._taken += 1
        if self._workers:  # out of the shared memory that grain keeps open as long as a batch is held
            batch = {name: np.array(value) for name, value in batch.items()}
        return batch

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> Any:
        grain = require("grain", extra="data")
        # Started at a position instead of by grain's own state, which also holds how many workers there were.
        options = grain.ReadOptions(num_threads=self._threads, prefetch_buffer_size=2 * self._threads)
        stream = self._batches[self._taken :].to_iter_dataset(options)
        if self._workers:
            flags = require("absl.flags", extra="data").FLAGS
            if not flags.is_parsed():  # grain's workers read absl's flags, which only absl.app.run parses
                flags.mark_as_parsed()
            stream = stream.mp_prefetch(grain.MultiprocessingOptions(num_workers=self._workers))
        return iter(stream)

    def cursor(self) -> dict[str, Any]:
        """The position and the identity of the pipeline, as JSON values; the next batch comes after it."""
        return {"version": _CURSOR_VERSION, "batches": self._taken, **self._identity}

    def restore(self, cursor: dict[str, Any]) -> None:
        """Goes to a cursor's position: the next batch is exactly the one that followed there.

        Raises:
          CursorError: the cursor is of another source, seed, pipeline or order; the pipeline stays where it is.
        """
        if not isinstance(cursor, dict) or cursor.get("version") != _CURSOR_VERSION:
            raise CursorError(f"not a data cursor of version {_CURSOR_VERSION}: {str(cursor)[:100]}")
        batches = cursor.get("batches")
        if not isinstance(batches, int) or isinstance(batches, bool) or batches < 0:
            raise CursorError(f"the data cursor's position is {batches!r}, not a number of batches")
        old, new = _flat(cursor), _flat(self._identity)
        differing = [f"{key}: {old.get(key)!r} -> {value!r}" for key, value in new.items() if old.get(key) != value]
        if differing:
            raise CursorError(f"the data cursor belongs to another pipeline ({'; '.join(differing)})")
        self.close()
        self._taken = batches

    def close(self) -> None:
        """Ends worker threads and processes; the next batch would start them again."""
        if self._iterator is not None:
            self._iterator.close()
            self._iterator = None


def make_pipeline(
    source: Any,
    batch: int,
    seed: int,
    *,
    process_index: int = 0,
    process_count: int = 1,
    mirror: bool = False,
    resolution: int | None = None,
    channels: int | None = None,
    fit: Fit = "crop",
    workers: int = 0,
) -> Pipeline:
    """Makes an endless pipeline of `{"image": [batch / process_count, H, W, C] uint8, "label": [...] int32}`.

    Args:
      source: `Images`, a `TfdsSource` (decoded as needed), or any spec of `load`; absent labels are 0.
      batch: images in a batch, over all processes.
      seed: of the order and of mirroring; 0 .. 2^64 - 1.
      process_index: number of this process, and of its part of each batch.
      process_count: number of processes that share a batch.
      mirror: whether each image is flipped left to right with probability 1/2.
      resolution: height and width to resize to, px; None keeps the source's.
      channels: 1, 3 or 4 to convert to; None keeps the source's.
      fit: crop, pad or stretch images that are not square, where a resolution is given.
      workers: processes that prepare batches; 0 = a thread of this process (right for sets in memory).
    """
    grain = require("grain", extra="data")
    part = local_part(batch, process_index, process_count)
    try:
        word = word_of(seed, "data seed")  # grain takes 32 bits
    except SeedError as error:
        raise DataError(str(error)) from error
    source = open_source(source)
    shape = Shape(resolution, channels, fit)
    order = grain.MapDataset.range(len(source)).seed(word).shuffle().repeat().random_map(_toss if mirror else _straight)
    sample = np.array([order[i] for i in range(ORDER_SAMPLES)], "<i8")
    identity = {
        "source": {"images": len(source), "fingerprint": source.fingerprint},
        "seed": seed,
        "pipeline": {"batch": batch, "mirror": mirror, "resolution": resolution, "channels": channels},
        # Not implied by the above: another version of grain may shuffle differently.
        "order": hashlib.sha256(sample.tobytes()).hexdigest()[:16],
    }
    if fit != "crop":  # named only then, so that positions kept before there was a choice are still valid
        identity["pipeline"]["fit"] = fit
    local = order.batch(batch).map(
        _Fetch(fit_images(source, shape) if isinstance(source, Images) else source, shape, part)
    )
    return Pipeline(local, identity, workers, threads=1 if isinstance(source, Images) else 4)


def local_part(batch: int, process_index: int, process_count: int) -> slice:
    """The rows of a batch that a process of several takes."""
    if batch < 1 or process_count < 1 or batch % process_count:
        raise DataError(f"a batch of {batch} cannot be divided over {process_count} processes; make it a multiple")
    if not 0 <= process_index < process_count:
        raise DataError(f"process_index {process_index} is outside 0 .. {process_count - 1}")
    size = batch // process_count
    return slice(process_index * size, (process_index + 1) * size)


class _Fetch:
    """Reads a part of a batch from (position, mirrored) rows `[B, 2]`; a class, so that worker processes can receive it."""

    def __init__(self, source: Images | TfdsSource, shape: Shape, part: slice):
        self._source = source
        self._shape = shape
        self._part = part

    def __call__(self, picks: np.ndarray) -> Batch:
        indices, flips = picks[self._part, 0], picks[self._part, 1].astype(bool)
        if isinstance(self._source, Images):
            images = self._source.images[indices]
            labels = np.zeros(len(indices), np.int32) if self._source.labels is None else self._source.labels[indices]
        else:
            images, labels = self._source.fetch(indices.tolist(), self._shape)
        if flips.any():
            images[flips] = images[flips, :, ::-1]
        return {"image": images, "label": labels}


def _toss(index: Any, rng: np.random.Generator) -> np.ndarray:
    return np.array([index, rng.integers(2)], np.int64)


def _straight(index: Any, rng: np.random.Generator) -> np.ndarray:
    return np.array([index, 0], np.int64)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as `{"source.fingerprint": ...}`."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        out.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return out
