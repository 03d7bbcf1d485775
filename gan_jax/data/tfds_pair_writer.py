"""Pairs as records of a TFDS data set: features `input`, `image` and `instance`, and a file with what records do not say.

The i-th record holds the i-th input and the i-th image. Of unpaired sets the shorter side is filled up with black images,
which are not read: `pairs.json` has the counts, the kind, the classes and the names.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.data.convert import Fit
from gan_jax.data.decode import encode_png
from gan_jax.data.files import Bad
from gan_jax.data.images import DataError
from gan_jax.data.label_maps import DONT_CARE
from gan_jax.data.pairs import Pairs, load_pairs
from gan_jax.data.tfds_pairs import PAIRS_FILE

_MOST_NUMBER = 65535  # of a PNG


def load_pair_splits(
    sources: Mapping[str, Any], *, resolution: int | None, channels: int | None, fit: Fit, bad: Bad, crop: bool
) -> dict[str, Pairs]:
    """Loads every split of a set of pairs, and checks that they fit together and into PNG files.

    Args:
      sources: split -> what `load_pairs` takes.
      resolution, channels, fit, bad: as of `load_pairs`; channels are those of the images.
      crop: refused without a resolution, since both sides are made square only with one.
    """
    if crop and resolution is None:
        raise DataError("both sides of pairs become square at a resolution only; give one (--resolution)")
    options: dict[str, Any] = {"resolution": resolution, "channels": channels, "fit": fit, "bad": bad}
    splits = {split: load_pairs(source, **options) for split, source in sources.items()}
    (first_split, first), *remaining = splits.items()
    for split, pairs in remaining:
        for what, a, b in (
            ("kind", first.kind, pairs.kind),
            ("shape of inputs", first.inputs.shape[1:], pairs.inputs.shape[1:]),
            ("shape of images", first.images.shape[1:], pairs.images.shape[1:]),
            ("instances", first.instances is not None, pairs.instances is not None),
            ("class names", first.class_names, pairs.class_names),
        ):
            if a != b:
                raise DataError(f"splits {first_split} and {split} differ in {what}: {a} and {b}")
    for pairs in splits.values():
        _check_storable(pairs)
    return splits


def _check_storable(pairs: Pairs) -> None:
    if pairs.inputs.ndim == 4 and pairs.inputs.shape[3] not in (1, 3, 4):
        raise DataError(f"{pairs.name}: inputs have {pairs.inputs.shape[3]} channels; files of images hold 1, 3 or 4")
    if pairs.dont_care and (pairs.num_labels or 0) > DONT_CARE:
        raise DataError(
            f"{pairs.name}: don't care is stored as {DONT_CARE}, which is a class where there are {pairs.num_labels}"
        )
    for title, maps in (("labels", pairs.inputs if pairs.kind == "layout" else None), ("instances", pairs.instances)):
        if maps is not None and (maps.min() < 0 or maps.max() > _MOST_NUMBER):
            worst = int(maps.min() if maps.min() < 0 else maps.max())
            raise DataError(
                f"{pairs.name}: {title} hold {worst}, but files of maps 0 .. {_MOST_NUMBER}; number them anew"
            )


def features_of(tfds: Any, splits: Mapping[str, Pairs]) -> dict[str, Any]:
    """The TFDS features of the splits of a set of pairs."""
    pairs = next(iter(splits.values()))
    picture = lambda array: tfds.features.Image(shape=array.shape[1:], encoding_format="png")
    features = {"image": picture(pairs.images)}
    if pairs.kind == "layout":
        count = _num_labels(splits)
        features["input"] = tfds.features.LabeledImage(
            labels=list(pairs.class_names) if pairs.class_names else count, shape=(*pairs.inputs.shape[1:], 1),
            dtype=np.uint8 if count <= DONT_CARE else np.uint16, encoding_format="png",
        )  # fmt: skip
    else:
        features["input"] = picture(pairs.inputs)
    if pairs.instances is not None:
        shape = (*pairs.instances.shape[1:], 1)
        features["instance"] = tfds.features.Image(shape=shape, dtype=np.uint16, encoding_format="png")
    return features


def _num_labels(splits: Mapping[str, Pairs]) -> int:
    return max(pairs.num_labels or 0 for pairs in splits.values())


def examples_of(pairs: Pairs) -> Iterator[tuple[int, dict[str, Any]]]:
    """The records of a split, images as PNG files."""
    # PNG files rather than arrays, for which TFDS would call TensorFlow.
    of_image = lambda array, i: io.BytesIO(encode_png(array[i] if i < len(array) else np.zeros_like(array[0])))
    small = (pairs.num_labels or 0) <= DONT_CARE
    for i in range(max(len(pairs), pairs.image_count)):
        example = {"image": of_image(pairs.images, i)}
        if pairs.kind == "layout":
            labels = pairs.inputs[i].astype(np.int32)
            example["input"] = _map_file(
                np.where(labels == pairs.num_labels, DONT_CARE, labels) if small else labels, small
            )
        else:
            example["input"] = of_image(pairs.inputs, i)
        if pairs.instances is not None:
            example["instance"] = _map_file(pairs.instances[i], False)
        yield i, example


def _map_file(numbers: np.ndarray, small: bool) -> io.BytesIO:
    """Numbers `[H, W]` as a grey PNG of 8 or 16 bits."""
    return io.BytesIO(encode_png(numbers[..., None].astype(np.uint8 if small else np.uint16)))


def write_pairs_file(splits: Mapping[str, Pairs], folder: Path) -> None:
    """Writes what records do not say: kind, classes, and of each split its counts and names."""
    first = next(iter(splits.values()))
    values = {
        "kind": first.kind,
        "num_labels": _num_labels(splits) if first.kind == "layout" else None,
        "class_names": first.class_names,
        "splits": {
            split: {
                "inputs": len(pairs),
                "images": pairs.image_count,
                "names": pairs.names,
                "image_names": pairs.image_names,
            }
            for split, pairs in splits.items()
        },
    }
    (folder / PAIRS_FILE).write_text(json.dumps(values, indent=1), encoding="utf-8")
