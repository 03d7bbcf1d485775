"""Grain pipelines of pairs: endless shuffled batches with random crops and flips, whose position can be saved.

Pairs and layouts are one stream of epochs, as `pipeline` makes of images; the sides of unpaired sets are two streams with
orders, crops and flips of their own.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import Any

import numpy as np

from gan_jax.data.images import DataError
from gan_jax.data.pairs import Pairs
from gan_jax.data.pipeline import ORDER_SAMPLES, Batch, Pipeline, local_part
from gan_jax.extras import require
from gan_jax.seeds import SeedError, word_of


def make_pair_pipeline(
    pairs: Pairs,
    batch: int,
    seed: int,
    *,
    resolution: int | None = None,
    process_index: int = 0,
    process_count: int = 1,
    mirror: bool = False,
    workers: int = 0,
) -> Pipeline:
    """Makes an endless pipeline of `{"input": [b, R, R, Cin] uint8, "image": [b, R, R, C] uint8}`, b = batch / process_count.

    The inputs of layouts are `[b, R, R]` int32, with `instance` where the set has instances.

    Args:
      pairs: the rows, square.
      batch: rows in a batch, over all processes.
      seed: of the order, crops and flips; 0 .. 2^64 - 1.
      resolution: height and width of the crops, px; None = all of each image.
      process_index: number of this process, and of its part of each batch.
      process_count: number of processes that share a batch.
      mirror: whether each row is flipped left to right with probability 1/2.
      workers: processes that prepare batches; 0 = a thread of this process.
    """
    grain = require("grain", extra="data")
    part = local_part(batch, process_index, process_count)
    try:
        word = word_of(seed, "data seed")  # grain takes 32 bits
    except SeedError as error:
        raise DataError(str(error)) from error
    for title, array in (("inputs", pairs.inputs), ("images", pairs.images)):
        if resolution is not None and min(array.shape[1:3]) < resolution:
            raise DataError(
                f"{pairs.name}: {title} of {array.shape[1]} x {array.shape[2]} px hold no crop of {resolution} px"
            )
    orders = [_order(grain, pairs.inputs, resolution, mirror, word)]
    if pairs.kind == "unpaired":
        other = zlib.crc32(f"images {seed}".encode())
        orders.append(_order(grain, pairs.images, resolution, mirror, other))
    sample = np.array([order[i] for order in orders for i in range(ORDER_SAMPLES)], "<i8")
    identity = {
        "source": {
            "kind": pairs.kind,
            "inputs": len(pairs),
            "images": len(pairs.images),
            "fingerprint": pairs.fingerprint,
        },
        "seed": seed,
        "pipeline": {"batch": batch, "mirror": mirror, "resolution": resolution},
        "order": hashlib.sha256(sample.tobytes()).hexdigest()[:16],
    }
    rows = orders[0] if len(orders) == 1 else grain.experimental.ZipMapDataset(orders).map(np.stack)
    return Pipeline(rows.batch(batch).map(_Cut(pairs, resolution, part)), identity, workers, threads=1)


def _order(grain: Any, array: np.ndarray, resolution: int | None, mirror: bool, word: int) -> Any:
    """One side's endless rows `[4]` int64: position, flipped, top and left of the crop."""
    room = (1, 1) if resolution is None else (array.shape[1] - resolution + 1, array.shape[2] - resolution + 1)
    return grain.MapDataset.range(len(array)).seed(word).shuffle().repeat().random_map(_Toss(mirror, room))


class _Toss:
    """Draws the flip and the crop of a row; a class, so that worker processes can receive it."""

    def __init__(self, mirror: bool, room: tuple[int, int]):
        self._mirror = mirror
        self._room = room

    def __call__(self, index: Any, rng: np.random.Generator) -> np.ndarray:
        flip = rng.integers(2) if self._mirror else 0
        return np.array([index, flip, rng.integers(self._room[0]), rng.integers(self._room[1])], np.int64)


class _Cut:
    """Cuts a part of a batch out of the arrays, from rows `[B, 4]`, or `[B, 2, 4]` of unpaired sets."""

    def __init__(self, pairs: Pairs, resolution: int | None, part: slice):
        self._pairs = pairs
        self._resolution = resolution
        self._part = part

    def __call__(self, picks: np.ndarray) -> Batch:
        rows = picks[self._part]
        first, second = (rows[:, 0], rows[:, 1]) if rows.ndim == 3 else (rows, rows)
        out = {"input": self._crops(self._pairs.inputs, first), "image": self._crops(self._pairs.images, second)}
        if self._pairs.kind == "layout":
            out["input"] = out["input"].astype(np.int32)
        if self._pairs.instances is not None:
            out["instance"] = self._crops(self._pairs.instances, first)
        return out

    def _crops(self, array: np.ndarray, rows: np.ndarray) -> np.ndarray:
        height, width = array.shape[1:3] if self._resolution is None else (self._resolution, self._resolution)
        out = np.empty((len(rows), height, width, *array.shape[3:]), array.dtype)
        for crop, (index, flip, top, left) in zip(out, rows.tolist(), strict=True):
            pixels = array[index, top : top + height, left : left + width]
            crop[:] = pixels[:, ::-1] if flip else pixels
        return out
