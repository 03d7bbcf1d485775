"""The images of a run: those it trains on, and the reference that it is measured against."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from gan_jax.config import ChainConfig, Config, ConfigError, DataConfig
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
        without shots, or where they are all the images, up to 10,000 of the training images.
      held_out: whether the reference is of images that are not trained on.
      shots: whether a number of shots was asked for: a reference of training images was refused then, before it was
        recorded in protocols.
      notes: a sentence for everything that was lost, left out or not used.
      train_hash, reference_hash: which images they are: 16 hex digits of their fingerprints, so that two classes, or two
        sets of as many images, never share them.
    """

    train: Images | TfdsSource
    reference: Images
    held_out: bool = True
    shots: bool = True
    notes: tuple[str, ...] = ()

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
    images = load(data.source, resolution=net.resolution, channels=_channels(config), **reading(data))
    unused = None
    if num_classes := net.num_classes:
        images = _relabel(images, num_classes, data.classes)
    elif images.labels is not None and len(found := set(images.labels.tolist())) > 1:
        unused = (
            f"labels are not used: {images.name} has {len(found)} classes, and the network has none (net.num_classes)"
        )
    dataset = _held_out(images, data) if data.reference is not None else _split(images, data)
    return _noted(config, dataset, *images.notes, unused, _without_images(images, dataset, num_classes))


def reading(data: DataConfig) -> dict[str, Any]:
    """What `data.load` is told beside resolution and channels."""
    return {"classes": data.classes, "fit": data.fit, "bad": data.bad}


def _channels(config: Config) -> int:
    """Of the network, where the data were not asked to have others."""
    asked, channels = config.data.channels, config.net.channels
    if asked not in (None, channels):
        raise ConfigError(
            f"data.channels is {asked}, but net.channels is {channels}; give both the same, or one of them"
        )
    return channels


def _split(images: Images, data: DataConfig) -> Dataset:
    """The shots and what is left of the images; all of them, and a sample of these, where nothing is left."""
    count, most = len(images), min(len(images), REFERENCE_IMAGES)
    if data.shots is not None and data.shots > count:
        raise ConfigError(f"data.shots is {data.shots}, but {images.name} has {count} images; use None for all of them")
    if data.shots is not None and data.shots < count:
        split = few_shot(count, data.shots, seed=data.subset_seed)
        return Dataset(images.take(split.chosen), images.take(split.rest))
    chosen = few_shot(count, most, seed=data.subset_seed).chosen
    return Dataset(images, images.take(chosen), held_out=False, shots=data.shots is not None)


def _noted(config: Config, dataset: Dataset, *notes: str | None) -> Dataset:
    """With the sentences that there are; of its reference only where something is measured against it."""
    reference = None if config.evaluate.features is None else _not_held_out(dataset)
    return dataclasses.replace(dataset, notes=tuple(note for note in (*notes, reference) if note))


def _not_held_out(dataset: Dataset) -> str | None:
    if dataset.held_out:
        return None
    n, of = len(dataset.reference), len(dataset.train)
    if of == 1:
        return "no held-out reference: evaluations compare with the one image that is trained on"
    which = f"all {of:,} images" if n == of else f"{n:,} of the {of:,} images"
    return (
        f"no held-out reference: evaluations compare with {which} that are trained on, and a copy of them would look "
        "perfect; data.reference N holds N images out"
    )


def _without_images(images: Images, dataset: Dataset, num_classes: int) -> str | None:
    """Classes of the network that no training image has."""
    if not num_classes:
        return None
    assert isinstance(dataset.train, Images) and images.labels is not None and dataset.train.labels is not None
    if not (absent := sorted(set(images.labels.tolist()) - set(dataset.train.labels.tolist()))):
        return None
    names = [images.class_names[label] if images.class_names else str(label) for label in absent]
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return f"no image of class {shown} is among the {len(dataset.train)} to train on: G learns nothing of it"


def counted(transfer: Any, images: int) -> Any:
    """A method's configuration with the number of training images, where it asks for it by a field `images` of None."""
    if transfer.images is not None:
        return transfer
    return (
        transfer.counted(images) if isinstance(transfer, ChainConfig) else dataclasses.replace(transfer, images=images)
    )


def make_feed(config: Config, dataset: Dataset) -> Feed:
    """Images on the device, or a pipeline on the host for sets that are too large."""
    train, mirror = dataset.train, config.data.mirror
    labels = train.labels if config.net.num_classes else None
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
        left = len(images) - wanted
        remedy = f"use at most {left}" if left > 0 else "use fewer data.shots, or data.reference None"
        raise ConfigError(
            f"data.reference {data.reference} and {wanted} to train on are more than the {len(images)} images of "
            f"{images.name}; {remedy}"
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
    if net.num_classes and data.classes is not None:
        raise ConfigError("data.classes renumbers labels in memory; leave them all, or use data.pipeline device")
    source = open_source(data.source)
    assert isinstance(source, TfdsSource)
    if data.classes is not None:
        source = source.of_classes(data.classes)
    if data.shots is not None and data.shots > len(source):
        raise ConfigError(f"data.shots is {data.shots}, but {data.source} has {len(source)} images; use None for all")
    held_out = data.shots is not None and data.shots < len(source)
    count = data.shots if data.shots is not None and held_out else min(len(source), REFERENCE_IMAGES)
    split = few_shot(len(source), count, seed=data.subset_seed)
    train = source.take(split.chosen) if held_out else source
    kept = split.rest[:REFERENCE_IMAGES] if held_out else split.chosen
    reference = source.take(kept).load(Shape(net.resolution, net.channels))
    return _noted(config, Dataset(train, reference, held_out, data.shots is not None), *reference.notes)


def _relabel(images: Images, num_classes: int, classes: Sequence[int | str] | None) -> Images:
    """Labels 0..n-1 in the order of the chosen classes, and their names in this order."""
    if images.labels is None:
        raise ConfigError(f"net.num_classes is {num_classes}, but {images.name} has no labels; use 0")
    found = sorted(set(images.labels.tolist())) if classes is None else [images.class_index(name) for name in classes]
    if doubled := [classes[i] for i, label in enumerate(found) if label in found[:i]] if classes else []:
        raise ConfigError(f"class {doubled[0]} is named twice in data.classes; name each class once")
    if len(found) != num_classes:
        raise ConfigError(f"net.num_classes is {num_classes}, but the data have {len(found)} classes; use {len(found)}")
    table = np.full(max(found) + 1, -1, np.int32)
    table[found] = np.arange(len(found))
    names = None if images.class_names is None else tuple(images.class_names[label] for label in found)
    return dataclasses.replace(images, labels=table[images.labels], class_names=names)
