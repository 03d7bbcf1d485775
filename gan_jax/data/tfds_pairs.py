"""Pairs of images in a TFDS data set: two features of images, one the input of the other.

A set that `tfds_writer` made of pairs has a file `pairs.json`, with their kind, classes, counts and names.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.data.convert import to_channels
from gan_jax.data.decode import Facts, decode_file, decode_indices
from gan_jax.data.images import DataError
from gan_jax.data.tfds_source import deserialised, open_data, raw_records, records_fingerprint, split_of
from gan_jax.documents import field_of, read_document
from gan_jax.trees import did_you_mean

PAIRS_FILE = "pairs.json"  # in the folder of a set that was made of pairs

INPUT_NAMES = (
    "input",
    "inputs",
    "input_image",
    "image_input",
    "source",
    "label_map",
    "segmentation_mask",
    "annotation",
)
IMAGE_NAMES = ("image", "images", "target", "target_image", "image_target", "output")


@dataclasses.dataclass(frozen=True)
class Record:
    """What `pairs.json` says of a split.

    Attributes:
      kind: paired, unpaired or layout.
      num_labels, class_names: of a layout, as of `Pairs`.
      inputs, images: rows of each side.
      names, image_names: of the rows; None = they have none.
    """

    kind: str
    num_labels: int | None
    class_names: tuple[str, ...] | None
    inputs: int
    images: int
    names: tuple[str, ...] | None = None
    image_names: tuple[str, ...] | None = None


class TfdsPairs:
    """A split of a TFDS data set with an input and an image in each record: `len`, `read`, `fingerprint`.

    Where the set was made of pairs, `record` says the rest, and records may hold instances.
    """

    def __init__(self, data: Any, name: str, features: Sequence[str] = (), record: Record | None = None):
        self._data = data
        self.name = name
        known = data.dataset_info.features
        self.record = record
        features = features or (("input", "image") if record is not None else ())
        self.input, self.image = _choose(known, features, name)
        self.named = self.input in INPUT_NAMES[:4] and self.image in IMAGE_NAMES  # rather than an image with labels
        kind = None if record is None else record.kind
        self.layout = type(known[self.input]).__name__ == "LabeledImage" if kind is None else kind == "layout"
        self.features = (self.input, self.image)
        if kind == "layout" and "instance" in known:
            self.features += ("instance",)
        self._channels = {feature: known[feature].shape[-1] for feature in self.features}

    def __len__(self) -> int:
        return len(self._data)

    @property
    def fingerprint(self) -> str:
        """sha256 (hex) of the number of records and of up to 64 evenly spaced ones."""
        return records_fingerprint(self._data, self.name)

    def read(self, row: int, layout: bool, features: Sequence[str] | None = None) -> list[tuple[np.ndarray, Facts]]:
        """The features of a record, decoded: input, image and where there instances; maps `[H, W]` int32 of a `layout`."""
        where = f"{self.name}, record {row}"
        record = raw_records(self._data, [row], self.name)[0]
        chosen = self.features if features is None else features
        example = deserialised(self._data, record, self.features, where)  # TFDS's own decoder refuses uint16
        sides = []
        for feature in chosen:
            if layout and feature != self.image:
                sides.append(decode_indices(example[feature], f"{where}, {feature}"))
                continue
            pixels, facts = decode_file(example[feature], f"{where}, {feature}")
            channels = self._channels[feature]
            sides.append((to_channels(pixels[None], channels)[0] if channels else pixels, facts))
        return sides


def open_tfds_pairs(rest: str) -> TfdsPairs:
    """Opens `NAME[:SPLIT][@INPUT,IMAGE]`: the features of the input and the image, where their names do not say it."""
    match = re.fullmatch(r"(.+?)(?:@([^@,/]+),([^@,/]+))?", rest)
    name, features = (match[1], [text for text in match.groups()[1:] if text]) if match else (rest, [])
    data, spec = open_data(name)
    record = None if features else _record_of(data, split_of(name), spec)
    return TfdsPairs(data, f"{spec}@{','.join(features)}" if features else spec, features, record)


def _record_of(data: Any, split: str, name: str) -> Record | None:
    """What the set's `pairs.json` says of a split; of a part of a split without counts and names."""
    file = Path(data.dataset_info.data_dir) / PAIRS_FILE
    if not file.is_file():
        return None
    values, where = read_document(file, DataError), str(file)
    kind = field_of(values, "kind", str, where, DataError)
    if kind not in ("paired", "unpaired", "layout"):
        raise DataError(f"{where} is damaged: kind is {kind!r}; it is paired, unpaired or layout")
    num_labels = field_of(values, "num_labels", int, where, DataError) if kind == "layout" else None
    class_names = _names(values, "class_names", where, num_labels)
    splits = field_of(values, "splits", dict, where, DataError)
    if split not in splits:
        if kind == "unpaired":
            raise DataError(f"{name} is a part of an unpaired set, whose sides have other lengths; read a whole split")
        return Record(kind, num_labels, class_names, len(data), len(data))
    counts = field_of(splits, split, dict, where, DataError)
    inputs, images = (field_of(counts, side, int, where, DataError) for side in ("inputs", "images"))
    if max(inputs, images) != len(data) or min(inputs, images) < 1 or (kind != "unpaired" and inputs != images):
        raise DataError(f"{where} is damaged: {inputs} inputs and {images} images in {len(data)} records of {split}")
    names, image_names = _names(counts, "names", where, inputs), _names(counts, "image_names", where, images)
    return Record(kind, num_labels, class_names, inputs, images, names, image_names)


def _names(values: dict[str, Any], field: str, where: str, count: int | None) -> tuple[str, ...] | None:
    """A list of different texts, as many as `count`; None where the file has none."""
    if values.get(field) is None:
        return None
    names = field_of(values, field, list, where, DataError)
    if not all(isinstance(name, str) for name in names) or len(names) != count or len(set(names)) < len(names):
        raise DataError(f"{where} is damaged: {field} must be {count} different texts")
    return tuple(names)


def _choose(known: Any, features: Sequence[str], name: str) -> tuple[str, str]:
    """The features of the input and of the image."""
    pictures = [feature for feature, kind in dict(known).items() if "Image" in [t.__name__ for t in type(kind).__mro__]]
    for feature in features:
        if feature not in pictures:
            hint = did_you_mean(feature, pictures)
            raise DataError(
                f"{name} has no feature of images {feature!r}{hint}; it has {', '.join(pictures) or 'none'}"
            )
    if features:
        return features[0], features[1]
    if len(pictures) < 2:
        listed = ", ".join(dict(known))
        raise DataError(
            f"{name} has {len(pictures)} feature(s) of images, and pairs need two; its features are {listed}"
        )
    inputs = [feature for feature in pictures if feature in INPUT_NAMES]
    images = [feature for feature in pictures if feature in IMAGE_NAMES]
    if len(pictures) == 2 and len(inputs) + len(images) == 1:
        other = next(feature for feature in pictures if feature not in (*inputs, *images))
        inputs, images = inputs or [other], images or [other]
    if len(inputs) == 1 and len(images) == 1:
        return inputs[0], images[0]
    raise DataError(
        f"{name} has the images {', '.join(pictures)}; say which are the input and the image: "
        f"{name}@{pictures[0]},{pictures[1]}"
    )
