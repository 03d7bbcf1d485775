"""Pairs of images in a TFDS data set: two features of images, one the input of the other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from gan_jax.data.convert import to_channels
from gan_jax.data.decode import Facts, decode_file, decode_indices
from gan_jax.data.images import DataError
from gan_jax.data.tfds_source import deserialised, open_data, raw_records, records_fingerprint
from gan_jax.trees import did_you_mean

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


class TfdsPairs:
    """A split of a TFDS data set with an input and an image in each record: `len`, `read`, `fingerprint`."""

    def __init__(self, data: Any, name: str, features: Sequence[str] = ()):
        self._data = data
        self.name = name
        self.input, self.image = _choose(data.dataset_info.features, features, name)
        self.named = self.input in INPUT_NAMES[:4] and self.image in IMAGE_NAMES  # rather than an image with labels
        known = data.dataset_info.features
        self.layout = type(known[self.input]).__name__ == "LabeledImage"
        self._channels = {feature: known[feature].shape[-1] for feature in (self.input, self.image)}

    def __len__(self) -> int:
        return len(self._data)

    @property
    def fingerprint(self) -> str:
        """sha256 (hex) of the number of records and of up to 64 evenly spaced ones."""
        return records_fingerprint(self._data, self.name)

    def read(self, row: int, layout: bool) -> list[tuple[np.ndarray, Facts]]:
        """The input and the image of a record, decoded; the input `[H, W]` int32 of a `layout`."""
        where = f"{self.name}, record {row}"
        record = raw_records(self._data, [row], self.name)[0]
        example = deserialised(self._data, record, (self.input, self.image), where)
        sides = []
        for feature in (self.input, self.image):
            if layout and feature == self.input:
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
    return TfdsPairs(data, f"{spec}@{','.join(features)}" if features else spec, features)


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
