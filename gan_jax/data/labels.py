"""Labels of images in a folder or zip: from one label file at its root, or one subfolder a class.

| file | content |
|---|---|
| `labels.csv` | rows `file,label`, a header or none |
| `labels.json` | `{"file": label}` |
| `dataset.json` | `{"labels": [["file", label], ...]}` or `{"labels": null}`, as StyleGAN's tools write it |

A label is a whole number from 0, or in all rows a name (numbered then in alphabetical order).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gan_jax.data.images import DataError
from gan_jax.trees import did_you_mean

Labels = tuple["np.ndarray | None", "tuple[str, ...] | None"]


def find_labels(root: str, names: Sequence[str], images: Sequence[str], read: Callable[[str], bytes]) -> Labels:
    """The labels `[N]` of these images and the names of the classes; None where there are none.

    Raises:
      DataError: two label files, one that cannot be read, an image without a label, a label without an image.
    """
    found = [name for name in LABEL_FILES if name in names]
    if len(found) > 1:
        raise DataError(f"{root} holds {found[0]} and {found[1]}; keep one of the two")
    if found:
        where = f"{root}/{found[0]}"
        rows = _parse(found[0], read(found[0]), where)
        return (None, None) if rows is None else _numbers(_of_images(rows, images, where), images, where)
    folders = [name.split("/")[0] if "/" in name else None for name in images]
    if not any(folders):
        return None, None
    if None in folders:
        loose = images[folders.index(None)]
        folder = next(filter(None, folders))
        raise DataError(f"{root}/{loose} lies beside the class folder {folder!r}; move it into one, or add labels.csv")
    return _numbers(folders, images, root)


def _parse(name: str, data: bytes, where: str) -> list[tuple[str, Any]] | None:
    """(file, label) rows of a label file; None where it says that there are no labels."""
    try:
        text = data.decode("utf-8-sig")
        if name == "labels.csv":
            return _parse_csv(text, where)
        content = json.loads(text)
    except (UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise DataError(f"{where} cannot be read: {error}") from error
    if name == "dataset.json":
        if not isinstance(content, dict) or "labels" not in content:
            raise DataError(f'{where} must hold {{"labels": [["file", label], ...]}}')
        if content["labels"] is None:
            return None
        pairs = content["labels"]
    elif isinstance(content, dict):
        pairs = list(content.items())
    else:
        raise DataError(f'{where} must hold {{"file": label, ...}}')
    for i, pair in enumerate(pairs if isinstance(pairs, list) else [pairs]):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not isinstance(pair[0], str):
            raise DataError(f'{where}: entry {i} must be ["file", label], not {pair!r}')
    return [(file, label) for file, label in pairs]


def _parse_csv(text: str, where: str) -> list[tuple[str, Any]]:
    rows = [(number, row) for number, row in enumerate(csv.reader(io.StringIO(text)), 1) if row]
    if rows and [cell.strip().lower() for cell in rows[0][1]] in _HEADERS:
        rows = rows[1:]
    for number, row in rows:
        if len(row) != 2:
            raise DataError(f"{where}, line {number}: {len(row)} columns; each row is file,label")
    pairs = [(row[0].strip(), row[1].strip()) for _, row in rows]
    if all(_is_number(label) for _, label in pairs):
        return [(file, int(label)) for file, label in pairs]
    return pairs


def _is_number(text: str) -> bool:
    return text.isascii() and text.lstrip("-").isdigit()


def _of_images(rows: list[tuple[str, Any]], images: Sequence[str], where: str) -> list[Any]:
    """The label of every image, in the order of the images."""
    labels: dict[str, Any] = {}
    for file, label in rows:
        if file in labels:
            raise DataError(f"{where} labels {file!r} twice")
        labels[file] = label
    if missing := [image for image in images if image not in labels]:
        hint = did_you_mean(missing[0], labels)
        raise DataError(f"{where} has no label for {missing[0]!r}{hint}; {len(missing)} image(s) without one")
    if extra := sorted(set(labels) - set(images)):
        hint = did_you_mean(extra[0], images)
        raise DataError(f"{where} labels {extra[0]!r}, which is not there{hint}; {len(extra)} such label(s)")
    return [labels[image] for image in images]


def _numbers(labels: Sequence[Any], images: Sequence[str], where: str) -> Labels:
    """Labels as int32 and, where they are names, the names in alphabetical order."""
    if all(isinstance(label, str) for label in labels):
        class_names = tuple(sorted(set(labels)))
        index = {name: i for i, name in enumerate(class_names)}
        return np.array([index[label] for label in labels], np.int32), class_names
    for image, label in zip(images, labels, strict=True):
        if not isinstance(label, int) or isinstance(label, bool) or not 0 <= label < 2**31:
            raise DataError(f"{where}: the label of {image!r} is {label!r}; use whole numbers from 0, or names for all")
    return np.array(labels, np.int32), None


_HEADERS = (["file", "label"], ["filename", "label"], ["image", "label"])
LABEL_FILES = ("labels.csv", "labels.json", "dataset.json")
