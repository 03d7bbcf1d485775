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
from gan_jax.data.pair_stream import StreamedPairs, read_row
from gan_jax.data.pairs import Pairs
from gan_jax.data.pipeline import ORDER_SAMPLES, Batch, Pipeline, local_part
from gan_jax.extras import require
from gan_jax.seeds import SeedError, word_of


def make_pair_pipeline(
    pairs: Pairs | StreamedPairs,
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
      pairs: the rows, square; those in files are read as needed.
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
    sizes = sizes_of(pairs)
    for title, (height, width) in zip(("inputs", "images"), sizes, strict=True):
        if resolution is not None and min(height, width) < resolution:
            raise DataError(f"{pairs.name}: {title} of {height} x {width} px hold no crop of {resolution} px")
    orders = [_order(grain, len(pairs), sizes[0], resolution, mirror, word)]
    if pairs.kind == "unpaired":
        other = zlib.crc32(f"images {seed}".encode())
        orders.append(_order(grain, pairs.image_count, sizes[1], resolution, mirror, other))
    sample = np.array([order[i] for order in orders for i in range(ORDER_SAMPLES)], "<i8")
    identity = {
        "source": {
            "kind": pairs.kind,
            "inputs": len(pairs),
            "images": pairs.image_count,
            "fingerprint": pairs.fingerprint,
        },
        "seed": seed,
        "pipeline": {"batch": batch, "mirror": mirror, "resolution": resolution},
        "order": hashlib.sha256(sample.tobytes()).hexdigest()[:16],
    }
    rows = orders[0] if len(orders) == 1 else grain.experimental.ZipMapDataset(orders).map(np.stack)
    threads = 1 if isinstance(pairs, Pairs) else 4
    return Pipeline(rows.batch(batch).map(_Cut(pairs, resolution, part)), identity, workers, threads)


def sizes_of(pairs: Pairs | StreamedPairs) -> list[tuple[int, int]]:
    """Height and width of the inputs and of the images, px."""
    if isinstance(pairs, StreamedPairs):
        return [(pairs.size, pairs.size)] * 2
    return [(array.shape[1], array.shape[2]) for array in (pairs.inputs, pairs.images)]


def _order(grain: Any, count: int, size: tuple[int, int], resolution: int | None, mirror: bool, word: int) -> Any:
    """One side's endless rows `[4]` int64: position, flipped, top and left of the crop."""
    room = (1, 1) if resolution is None else (size[0] - resolution + 1, size[1] - resolution + 1)
    return grain.MapDataset.range(count).seed(word).shuffle().repeat().random_map(_Toss(mirror, room))


class _Toss:
    """Draws the flip and the crop of a row; a class, so that worker processes can receive it."""

    def __init__(self, mirror: bool, room: tuple[int, int]):
        self._mirror = mirror
        self._room = room

    def __call__(self, index: Any, rng: np.random.Generator) -> np.ndarray:
        flip = rng.integers(2) if self._mirror else 0
        return np.array([index, flip, rng.integers(self._room[0]), rng.integers(self._room[1])], np.int64)


class _Cut:
    """Reads a part of a batch, from rows `[B, 4]`, or `[B, 2, 4]` of unpaired sets, and cuts the crops out of it."""

    def __init__(self, pairs: Pairs | StreamedPairs, resolution: int | None, part: slice):
        self._pairs = pairs
        self._resolution = resolution
        self._part = part

    def __call__(self, picks: np.ndarray) -> Batch:
        rows = [self._crops(*(pick if pick.ndim == 2 else (pick, pick))) for pick in picks[self._part]]
        batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        if self._pairs.kind == "layout":
            batch["input"] = batch["input"].astype(np.int32)
        return batch

    def _crops(self, first: np.ndarray, second: np.ndarray) -> Batch:
        """One row's crops: of the input (and instances) by the first pick, of the image by the second."""
        row = read_row(self._pairs, int(first[0]), int(second[0]))
        return {name: self._crop(array, second if name == "image" else first) for name, array in row.items()}

    def _crop(self, array: np.ndarray, pick: np.ndarray) -> np.ndarray:
        _, flip, top, left = pick.tolist()
        height, width = array.shape[:2] if self._resolution is None else (self._resolution, self._resolution)
        pixels = array[top : top + height, left : left + width]
        return pixels[:, ::-1] if flip else pixels
