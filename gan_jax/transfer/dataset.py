"""The images of a run: its training set and its reference, and the record by which both are recognised."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax.config import ChainConfig, Config, ConfigError, DataConfig
from gan_jax.data import Images, Pairs, few_shot, load, make_pipeline, open_source
from gan_jax.data.convert import Shape
from gan_jax.data.tfds_source import TfdsSource
from gan_jax.files import typed
from gan_jax.tasks.feeds import pair_feed
from gan_jax.train.feed import RESIDENT_BYTES, Feed, resident_feed, streamed_feed
from gan_jax.transfer.folder import DATA, read_json

# ----------------------------------------------------------------------------------------------------------------------
# Fingerprints of a run's images: written to `data.json`, and compared when the run goes on.

MOST = 20_000  # largest number of training images with a digest of each


def describe_data(dataset: Dataset, config: Config) -> dict[str, Any]:
    """Describes the images of a run for `data.json`, as JSON values.

    `train` and `reference` are fingerprints, `count` is the number of training images, `digests` has 8 hex digits of each
    in one string (None where there are too many, or where they are decoded during training), `spec` is the source.
    """
    train = dataset.train
    digests = None
    if isinstance(train, Images) and len(train) <= MOST:
        labels: Any = [None] * len(train) if train.labels is None else train.labels.tolist()
        digests = " ".join(_digest(image, label) for image, label in zip(train.images, labels, strict=True))
    names = getattr(train, "class_names", None)
    return {
        "train": train.fingerprint,
        "reference": dataset.reference.fingerprint,
        "count": len(train),
        "class_names": None if names is None else list(names),
        "name": train.name,
        "spec": config.data.source,
        "digests": digests,
    }


def read_data(folder: Path) -> dict[str, Any] | None:
    """Reads `data.json` of a run; None where it is absent, as in older runs.

    Raises:
      ConfigError: the file is damaged.
    """
    path = folder / DATA
    if not path.exists():
        return None
    remedy = "; remove it if the data are certainly the same"
    values = read_json(path, remedy)
    if not isinstance(values, dict) or not all(isinstance(values.get(key), str) for key in ("train", "reference")):
        raise ConfigError(f"{path} is damaged: it has no fingerprints{remedy}")
    return values


def check_data(folder: Path, recorded: Mapping[str, Any], now: Mapping[str, Any], measured: bool) -> None:
    """Checks that a run's data have not changed since it was started.

    Args:
      folder: of the run.
      recorded: result of `read_data`.
      now: result of `describe_data`.
      measured: whether the run has evaluations against the reference.

    Raises:
      ConfigError: the data changed; lists the changes.
    """
    changes = list(data_changes(recorded, now, measured))
    if changes:
        raise ConfigError(
            f"the data of run {folder} ({now['spec']}) changed since it was started: {'; '.join(changes)}. Bring them back, "
            f"or start a new run from its newest checkpoint: gan-jax train {typed(folder)} --fork NEW"
        )


def data_changes(recorded: Mapping[str, Any], now: Mapping[str, Any], measured: bool = True) -> list[str]:
    """Lists the differences of two descriptions of data, in words; empty where the images are the same."""
    out = []
    if recorded["train"] != now["train"]:
        old, new = recorded.get("digests"), now.get("digests")
        if recorded.get("count") != now["count"]:
            out.append(f"{recorded.get('count')} training images then, {now['count']} now")
        if isinstance(old, str) and isinstance(new, str):
            gone = collections.Counter(old.split()) - collections.Counter(new.split())
            come = collections.Counter(new.split()) - collections.Counter(old.split())
            if gone or come:
                out.append(
                    f"{gone.total()} of them {'is' if gone.total() == 1 else 'are'} gone and "
                    f"{come.total()} {'is' if come.total() == 1 else 'are'} new (by their pixels and labels)"
                )
            else:
                out.append("the same training images in another order (were files renamed?)")
        elif not out:
            out.append("as many training images, of other pixels or labels")
        if (names := recorded.get("class_names")) != now["class_names"]:
            out.append(f"classes {_listed(names)} then, {_listed(now['class_names'])} now")
    if measured and recorded["reference"] != now["reference"]:
        out.append("the images that it is measured against are others")
    return out


def _digest(image: Any, label: int | None) -> str:
    return hashlib.blake2b(image.tobytes() + f" {label}".encode(), digest_size=4).hexdigest()


def _listed(names: Any) -> str:
    if not isinstance(names, list):
        return "without names"
    return ", ".join(map(str, names[:10])) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


# ----------------------------------------------------------------------------------------------------------------------
# The training set, and the reference that samples are measured against.

REFERENCE_IMAGES = 10_000  # largest reference where it is the training set itself


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Training images and reference.

    Attributes:
      train: the training set: images in memory, or a TFDS set that a pipeline decodes during training.
      reference: `data.reference` images held out before the shots are chosen; else the images outside the few shots;
        without shots, or where they are all the images, up to 10,000 of the training images.
      held_out: whether no image of the reference is trained on.
      shots: whether `data.shots` is set; such runs had no reference of training images before protocols recorded it.
      notes: log messages about images and labels that were left out or not used.
      train_hash, reference_hash: 16 hex digits of the fingerprints of the images, which other sets of as many do not share.
    """

    train: Images | TfdsSource | Pairs
    reference: Images | Pairs
    held_out: bool = True
    shots: bool = True
    notes: tuple[str, ...] = ()

    @property
    def train_hash(self) -> str:
        """16 hex digits of the fingerprint of the training images."""
        return self.train.fingerprint[:16]

    @property
    def reference_hash(self) -> str:
        """16 hex digits of the fingerprint of the reference."""
        return self.reference.fingerprint[:16]


def load_dataset(config: Config) -> Dataset:
    """Reads, resizes and splits the images of a configuration.

    Raises:
      DataError: images cannot be read, or there are fewer than the shots.
      ConfigError: labels do not fit the network's classes.
    """
    data, net = config.data, config.net
    if data.pipeline == "grain" and data.source.startswith("tfds:"):
        return _streamed(config)
    images = load(data.source, resolution=net.resolution, channels=_channels(config), **reading(data))
    unused = None
    if num_classes := net.num_classes:
        images = _relabel(images, num_classes, data.classes)
    elif images.labels is not None and len(classes := set(images.labels.tolist())) > 1:
        unused = (
            f"labels are not used: {images.name} has {len(classes)} classes, and the network has none (net.num_classes)"
        )
    dataset = _held_out(images, data) if data.reference is not None else _split(images, data)
    return _noted(config, dataset, *images.notes, unused, _without_images(images, dataset, num_classes))


def reading(data: DataConfig) -> dict[str, Any]:
    """Options of `data.load`, apart from resolution and channels."""
    return {"classes": data.classes, "fit": data.fit, "bad": data.bad}


def _channels(config: Config) -> int:
    """Image channels: the network's, which `data.channels` must not contradict."""
    option, channels = config.data.channels, config.net.channels
    if option not in (None, channels):
        raise ConfigError(
            f"data.channels is {option}, but net.channels is {channels}; give both the same, or one of them"
        )
    return channels


def _split(images: Images, data: DataConfig) -> Dataset:
    """Splits images into the shots and the reference; without a rest, the reference is a sample of the training images."""
    count, most = len(images), min(len(images), REFERENCE_IMAGES)
    if data.shots is not None and data.shots > count:
        raise ConfigError(f"data.shots is {data.shots}, but {images.name} has {count} images; use None for all of them")
    if data.shots is not None and data.shots < count:
        split = few_shot(count, data.shots, seed=data.subset_seed)
        return Dataset(images.take(split.chosen), images.take(split.rest))
    chosen = few_shot(count, most, seed=data.subset_seed).chosen
    return Dataset(images, images.take(chosen), held_out=False, shots=data.shots is not None)


def _noted(config: Config, dataset: Dataset, *notes: str | None) -> Dataset:
    """Adds the log messages to a data set; the one about its reference only where evaluations use it."""
    reference = None if config.evaluate.features is None else not_held_out(dataset)
    return dataclasses.replace(dataset, notes=tuple(note for note in (*notes, reference) if note))


def not_held_out(dataset: Dataset) -> str | None:
    """A log message where evaluations compare with what is trained on; None where they do not."""
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
    """A message that names the network's classes without a training image; None where there are none."""
    if not num_classes:
        return None
    assert isinstance(dataset.train, Images) and images.labels is not None and dataset.train.labels is not None
    if not (absent := sorted(set(images.labels.tolist()) - set(dataset.train.labels.tolist()))):
        return None
    names = [images.class_names[label] if images.class_names else str(label) for label in absent]
    listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return f"no image of class {listed} is among the {len(dataset.train)} to train on: G learns nothing of it"


def counted(transfer: Any, images: int) -> Any:
    """Sets the number of training images in a method's configuration where its field `images` is None."""
    if transfer.images is not None:
        return transfer
    return (
        transfer.counted(images) if isinstance(transfer, ChainConfig) else dataclasses.replace(transfer, images=images)
    )


def make_feed(config: Config, dataset: Dataset) -> Feed:
    """Makes the feed of a run: images on the device, or a pipeline on the host for sets that are too large."""
    train, mirror = dataset.train, config.data.mirror
    if isinstance(train, Pairs):
        return pair_feed(train, config)
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
    """Splits off a reference that does not depend on the shots or their seed, and takes the shots from the rest."""
    assert data.reference is not None
    least = data.shots or 1
    if data.reference + least > len(images):
        most = len(images) - least
        remedy = f"use at most {most}" if most > 0 else "use fewer data.shots, or data.reference None"
        raise ConfigError(
            f"data.reference {data.reference} and {least} to train on are more than the {len(images)} images of "
            f"{images.name}; {remedy}"
        )
    split = few_shot(len(images), data.reference)
    pool = images.take(split.rest)
    train = pool if data.shots is None else pool.take(few_shot(len(pool), data.shots, seed=data.subset_seed).chosen)
    return Dataset(train, images.take(split.chosen))


def _streamed(config: Config) -> Dataset:
    """Makes the data set of a TFDS set that is too large for memory: only the reference is decoded here."""
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
    indices = split.rest[:REFERENCE_IMAGES] if held_out else split.chosen
    reference = source.take(indices).load(Shape(net.resolution, net.channels))
    return _noted(config, Dataset(train, reference, held_out, data.shots is not None), *reference.notes)


def _relabel(images: Images, num_classes: int, classes: Sequence[int | str] | None) -> Images:
    """Renumbers labels as 0..n-1 in the order of the chosen classes, and orders their names alike."""
    if images.labels is None:
        raise ConfigError(f"net.num_classes is {num_classes}, but {images.name} has no labels; use 0")
    labels = sorted(set(images.labels.tolist())) if classes is None else [images.class_index(name) for name in classes]
    if doubled := [classes[i] for i, label in enumerate(labels) if label in labels[:i]] if classes else []:
        raise ConfigError(f"class {doubled[0]} is named twice in data.classes; name each class once")
    if len(labels) != num_classes:
        raise ConfigError(
            f"net.num_classes is {num_classes}, but the data have {len(labels)} classes; use {len(labels)}"
        )
    table = np.full(max(labels) + 1, -1, np.int32)
    table[labels] = np.arange(len(labels))
    names = None if images.class_names is None else tuple(images.class_names[label] for label in labels)
    return dataclasses.replace(images, labels=table[images.labels], class_names=names)
