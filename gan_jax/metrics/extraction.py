"""Images to features: one loop for every source of images and every extractor.

An extractor is a `FeatureNet` or any function `images uint8 [N, H, W, C] -> values [N, D]` (or `(values, logits)`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from gan_jax.metrics.features import FeatureNet, Features
from gan_jax.metrics.statistics import MetricError, check_features

Extractor = FeatureNet | Callable[[np.ndarray], Any]


def extract(
    net: Extractor,
    images: Any,
    *,
    batch: int | None = None,
    devices: Sequence[Any] | None = None,
) -> Features:
    """Features of many images.

    Args:
      net: a `FeatureNet`, or a function of the user's (called with numpy batches as they are, no resizing).
      images: uint8 [N, H, W, C], or an iterable of such arrays of any lengths.
      batch: images per call; None = the network's own number, 256 for a function. The last batch is filled up, so that
        one program serves all. Only the last float32 digit of features depends on it.
      devices: that share every batch; None = the default device.

    Raises:
      MetricError: no images, images that are not uint8 [N, H, W, C], features that are not finite (names the image).
    """
    values: list[np.ndarray] = []
    logits: list[np.ndarray | None] = []
    for part_values, part_logits in extract_batches(net, images, batch=batch, devices=devices):
        values.append(part_values)
        logits.append(part_logits)
    all_logits = None if logits[0] is None else np.concatenate([part for part in logits if part is not None])
    return Features(np.concatenate(values), all_logits, net.identity if isinstance(net, FeatureNet) else "")


def extract_batches(
    net: Extractor, images: Any, *, batch: int | None = None, devices: Sequence[Any] | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """The stream behind `extract`, for sets too large to hold: yields (values [n, D], logits [n, K] or None)."""
    if batch is None:
        batch = net.batch if isinstance(net, FeatureNet) else 256
    if batch < 1 or (devices and batch % len(devices)):
        raise MetricError(
            f"batch {batch} does not divide over {len(devices or [0])} device(s); use a positive multiple"
        )
    sharding = _over(devices) if devices else None
    start = 0
    for chunk in _chunks(images, batch):
        full = (
            np.concatenate([chunk, np.repeat(chunk[-1:], batch - len(chunk), axis=0)]) if len(chunk) < batch else chunk
        )
        if isinstance(net, FeatureNet):
            full = net.prepare(full)
            out = net.apply(full if sharding is None else jax.device_put(full, sharding))
        else:
            out = net(full if sharding is None else jax.device_put(full, sharding))
        values, logits = out if isinstance(out, tuple) else (out, None)
        values = check_features(np.asarray(values, np.float32)[: len(chunk)], "the extractor's features", start)
        yield values, None if logits is None else np.asarray(logits, np.float32)[: len(chunk)]
        start += len(chunk)
    if start == 0:
        raise MetricError("there are no images to take features of")


def _chunks(images: Any, batch: int) -> Iterator[np.ndarray]:
    """Batches of exactly `batch` images (the last one shorter) from an array or an iterable of arrays."""
    waiting: list[np.ndarray] = []
    for part in [images] if hasattr(images, "shape") else _arrays(images):
        part = np.asarray(part)
        if part.ndim != 4 or part.dtype != np.uint8:
            raise MetricError(
                f"images are {part.dtype.name}{list(part.shape)}; the extractor takes uint8 [N, H, W, C] "
                "(gan_jax.data.convert.to_uint8 turns [-1, 1] into it)"
            )
        if waiting and part.shape[1:] != waiting[0].shape[1:]:
            raise MetricError(
                f"images of {list(part.shape[1:])} follow images of {list(waiting[0].shape[1:])}; use one size"
            )
        waiting.append(part)
        if sum(map(len, waiting)) >= batch:
            joined = np.concatenate(waiting) if len(waiting) > 1 else part
            stop = len(joined) - len(joined) % batch
            yield from (joined[i : i + batch] for i in range(0, stop, batch))
            waiting = [joined[stop:]]
    if waiting and sum(map(len, waiting)):
        yield np.concatenate(waiting)


def _arrays(images: Iterable[Any]) -> Iterable[Any]:
    if isinstance(images, (str, bytes, dict)):
        raise MetricError(f"images are a {type(images).__name__}; use an array or an iterable of arrays")
    return images


def _over(devices: Sequence[Any]) -> jax.sharding.Sharding:
    mesh = jax.sharding.Mesh(np.array(devices), ("data",))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
