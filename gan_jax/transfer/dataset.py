"""The images of a run: those it trains on, and the reference that it is measured against."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from gan_jax.config import Config, ConfigError, DataConfig
from gan_jax.data import Images, few_shot, load, make_pipeline, open_source
from gan_jax.data.fit import Shape
from gan_jax.data.tfds_source import TfdsSource
from gan_jax.train.feed import RESIDENT_BYTES, Feed, resident_feed, streamed_feed

REFERENCE_IMAGES = 10_000  # at most so many where the reference is the training set itself


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Training images and reference.

    Attributes:
      train: what the run sees; a TFDS set that a pipeline decodes as it goes, or images in memory.
      reference: `data.reference` images held out before the shots are chosen; else the images outside the few shots;
        without shots, up to 10,000 of the training images.
      train_hash, reference_hash: which images they are: 16 hex digits of their fingerprints, so that two classes, or two
        sets of as many images, never share them.
    """

    train: Images | TfdsSource
    reference: Images

    @property
    def train_hash(self) -> str:
        """16 hex digits."""
        return self.train.fingerprint[:16]

    @property
    def reference_hash(self) -> str:
        """16 hex digits."""
        return self.reference.fingerprint[:16]


def load_dataset(config: Config) -> Dataset:
    """Reads, resizes and splits the images of a configuration.

    Raises:
      DataError: images that cannot be read, or fewer than the shots.
      ConfigError: labels that do not fit the network's classes.
    """
    data, net = config.data, config.net
    if data.pipeline == "grain" and data.source.startswith("tfds:"):
        return _streamed(config)
    images = load(
        data.source, resolution=net.resolution, channels=net.channels, classes=data.classes, fit=data.fit, bad=data.bad
    )
    if num_classes := getattr(net, "num_classes", 0):
        images = _relabel(images, num_classes, data.classes)
    if data.reference is not None:
        return _held_out(images, data)
    if data.shots is None:
        chosen = few_shot(len(images), min(len(images), REFERENCE_IMAGES), seed=data.subset_seed).chosen
        return Dataset(images, images.take(chosen))
    split = few_shot(len(images), data.shots, seed=data.subset_seed)
    return Dataset(images.take(split.chosen), images.take(split.rest))


def counted(transfer: Any, images: int) -> Any:
    """A method's configuration with the number of training images, where it asks for it by a field `images` of None."""
    return dataclasses.replace(transfer, images=images) if getattr(transfer, "images", 0) is None else transfer


def make_feed(config: Config, dataset: Dataset) -> Feed:
    """Images on the device, or a pipeline on the host for sets that are too large."""
    train, mirror = dataset.train, config.data.mirror
    labels = train.labels if getattr(config.net, "num_classes", 0) else None
    how = config.data.pipeline
    if isinstance(train, Images) and (how == "device" or (how == "auto" and train.images.nbytes <= RESIDENT_BYTES)):
        return resident_feed(train.images, labels, mirror)
    pipeline = make_pipeline(
        train,
        config.train.batch,
        config.train.seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        mirror=mirror,
        resolution=config.net.resolution,
        channels=config.net.channels,
        fit=config.data.fit,
    )
    return streamed_feed(pipeline)


def _held_out(images: Images, data: DataConfig) -> Dataset:
    """A reference that does not depend on the seed or number of shots, and shots from the others."""
    assert data.reference is not None
    wanted = data.shots or 1
    if data.reference + wanted > len(images):
        raise ConfigError(
            f"data.reference {data.reference} and {wanted} to train on are more than the {len(images)} images of "
            f"{images.name}; use at most {len(images) - wanted}"
        )
    held = few_shot(len(images), data.reference)
    pool = images.take(held.rest)
    train = pool if data.shots is None else pool.take(few_shot(len(pool), data.shots, seed=data.subset_seed).chosen)
    return Dataset(train, images.take(held.chosen))


def _streamed(config: Config) -> Dataset:
    """A TFDS set too large for memory: only the reference is decoded here."""
    data, net = config.data, config.net
    if data.reference is not None:
        raise ConfigError("data.reference is held out of images in memory; use data.pipeline device, or None")
    if getattr(net, "num_classes", 0) and data.classes is not None:
        raise ConfigError("data.classes renumbers labels in memory; leave them all, or use data.pipeline device")
    source = open_source(data.source)
    assert isinstance(source, TfdsSource)
    if data.classes is not None:
        source = source.of_classes(data.classes)
    split = few_shot(len(source), data.shots or min(len(source), REFERENCE_IMAGES), seed=data.subset_seed)
    train = source if data.shots is None else source.take(split.chosen)
    kept = split.chosen if data.shots is None else split.rest[:REFERENCE_IMAGES]
    return Dataset(train, source.take(kept).load(Shape(net.resolution, net.channels, data.fit)))


def _relabel(images: Images, num_classes: int, classes: tuple[int | str, ...] | None) -> Images:
    """Labels 0..n-1 in the order of the chosen classes."""
    if images.labels is None:
        raise ConfigError(f"net.num_classes is {num_classes}, but {images.name} has no labels; use 0")
    order = np.array(
        sorted(set(images.labels.tolist())) if classes is None else [images.class_index(c) for c in classes]
    )
    if len(order) != num_classes:
        raise ConfigError(f"net.num_classes is {num_classes}, but the data have {len(order)} classes; use {len(order)}")
    table = np.full(int(order.max()) + 1, -1, np.int32)
    table[order] = np.arange(len(order))
    return dataclasses.replace(images, labels=table[images.labels])
