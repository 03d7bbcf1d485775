"""Feeds of pairs: an input and an image, cropped and flipped together; of unpaired sets each by itself.

A batch is `{"input": [B, R, R, Cin] float in [-1, 1], "image": [B, R, R, C] float in [-1, 1]}`. The inputs of layouts are labels
`[B, R, R]` int32, with `instance [B, R, R]` int32 where the set has instances. Batches of a set on the device also have the
positions of their rows, `index [B]`, and of unpaired sets those of the images, `image_index [B]`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.config import Config
from gan_jax.data import DataError, Pairs, StreamedPairs
from gan_jax.data.convert import to_float
from gan_jax.data.pair_pipeline import make_pair_pipeline, sizes_of
from gan_jax.random_streams import CROP_KEY, SECOND_SIDE_KEY
from gan_jax.train.context import Batch
from gan_jax.train.feed import RESIDENT_BYTES, Feed


def pair_feed(pairs: Pairs | StreamedPairs, config: Config) -> Feed:
    """Makes the feed of a run: rows on the device, or a pipeline on the host where they are too large for it.

    Both cut random crops of `net.resolution` out of rows of `data.load_size` px, and flip half of them with `data.mirror`.

    Args:
      pairs: rows of `data.load_size`, or of `net.resolution` where it is None; those in files are always sent by the host.
      config: of the run.

    Raises:
      DataError: rows of another size.
    """
    data, resolution = config.data, config.net.resolution
    size = data.load_size or resolution
    for title, (height, width) in zip(("inputs", "images"), sizes_of(pairs), strict=True):
        if (height, width) != (size, size):
            raise DataError(
                f"{pairs.name}: {title} are {height} x {width} px, but data.load_size and net.resolution "
                f"need {size} x {size}; load them with resolution={resolution}, load_size={data.load_size}"
            )
    if isinstance(pairs, StreamedPairs):
        if data.pipeline == "device":
            raise DataError(f"{pairs.name} is read from its files; load it (load_pairs), or use data.pipeline grain")
    elif data.pipeline == "device" or (data.pipeline == "auto" and _bytes_of(pairs) <= RESIDENT_BYTES):
        return resident_pairs(pairs, resolution, data.mirror)
    pipeline = make_pair_pipeline(
        pairs,
        config.train.batch,
        config.train.seed,
        resolution=resolution,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        mirror=data.mirror,
    )
    return streamed_pairs(pipeline)


def resident_pairs(pairs: Pairs, resolution: int, mirror: bool) -> Feed:
    """Makes a feed that samples rows on the device with replacement, each by its own key.

    Args:
      pairs: the rows, square.
      resolution: of the crops, px.
      mirror: whether half of the rows are flipped left to right.
    """
    unpaired = pairs.kind == "unpaired"

    def draw(data: dict[str, jax.Array], keys: jax.Array, _: Any) -> Batch:
        if not unpaired:
            return _draw(data, keys, resolution, mirror)
        second = jax.vmap(jax.random.fold_in, (0, None))(keys, SECOND_SIDE_KEY)
        of_images = _draw({"image": data["image"]}, second, resolution, mirror)
        of_images["image_index"] = of_images.pop("index")
        return _draw({"input": data["input"]}, keys, resolution, mirror) | of_images

    return Feed(draw, resident=sides_of(pairs))


def sides_of(pairs: Pairs) -> dict[str, Any]:
    """The rows of each side by their names in a batch, as they are stored."""
    sides: dict[str, Any] = {"input": pairs.inputs, "image": pairs.images}
    return sides if pairs.instances is None else {**sides, "instance": pairs.instances}


def streamed_pairs(pipeline: Any) -> Feed:
    """Makes a feed from a host pipeline of pairs: an iterator with `cursor()` and `restore(cursor)`."""

    def draw(data: dict[str, jax.Array], keys: jax.Array, i: Any) -> Batch:
        return {name: values_of(values[i]) for name, values in data.items()}

    return Feed(draw, batches=pipeline, cursor=pipeline.cursor, restore=pipeline.restore)


def _draw(data: dict[str, jax.Array], keys: jax.Array, resolution: int, mirror: bool) -> Batch:
    """Draws a row for each key `[B]`, and the same crop and flip of all that it holds."""
    first = next(iter(data.values()))
    count, room = len(first), first.shape[1] - resolution + 1
    draws = jax.vmap(jax.random.split)(keys)
    index = jax.vmap(lambda key: jax.random.randint(key, (), 0, count))(draws[:, 0])
    rows = {name: values[index] for name, values in data.items()}
    if room > 1:
        places = jax.vmap(lambda key: jax.random.randint(jax.random.fold_in(key, CROP_KEY), (2,), 0, room))(draws[:, 1])
        rows = {name: jax.vmap(lambda row, at: _crop(row, at, resolution))(x, places) for name, x in rows.items()}
    if mirror:
        flip = jax.vmap(jax.random.bernoulli)(draws[:, 1])
        rows = {name: jnp.where(flip.reshape(-1, *(1,) * (x.ndim - 1)), x[:, :, ::-1], x) for name, x in rows.items()}
    return {name: values_of(x) for name, x in rows.items()} | {"index": index}


def _crop(row: jax.Array, place: jax.Array, size: int) -> jax.Array:
    """The crop `[size, size, ..]` of a row `[H, W, ..]` whose top and left are `place [2]`."""
    starts = (place[0], place[1], *(jnp.zeros((), place.dtype),) * (row.ndim - 2))
    return jax.lax.dynamic_slice(row, starts, (size, size, *row.shape[2:]))


def values_of(rows: jax.Array) -> jax.Array:
    """Rows as a step reads them: images `[B, H, W, C]` as floats in [-1, 1], maps `[B, H, W]` as int32."""
    return rows.astype(jnp.int32) if rows.ndim == 3 else to_float(rows)


def _bytes_of(pairs: Pairs) -> int:
    return sum(array.nbytes for array in (pairs.inputs, pairs.images, pairs.instances) if array is not None)
