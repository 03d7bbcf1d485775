"""Labels of images in a folder or zip: from one label file at its root, or one subfolder a class.

| file | content |
|---|---|
| `labels.csv` | rows `file,label` (or with `;` or tabs), a header or none |
| `labels.json` | `{"file": label}` |
| `dataset.json` | `{"labels": [["file", label], ...]}` or `{"labels": null}`, as StyleGAN's tools write it |

A label is a whole number from 0 (`2`, `"2"` and `2.0` are equal), or else all labels are names. Names are numbered in
natural order: numbers in a name count by their value. So class folders 0 .. 11 are the labels 0 .. 11, and `cat2` comes
before `cat10`.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gan_jax.data.images import DataError, gap_note, natural, number_names, whole_number
from gan_jax.trees import did_you_mean

LABEL_FILES = ("labels.csv", "labels.json", "dataset.json")


@dataclasses.dataclass(frozen=True)
class Labels:
    """The labels of images."""

    labels: np.ndarray | None = None  # [N] int32; None = no labels
    class_names: tuple[str, ...] | None = None  # by label; None = no names
    notes: tuple[str, ...] = ()  # sentences about them


def find_labels(
    root: str, images: Sequence[str], names: Sequence[str], read: Callable[[str], bytes], optional: Sequence[str] = ()
) -> Labels:
    """The labels of these images and the names of the classes.

    Args:
      root: where the images are, for errors.
      images: files that have labels.
      names: all files, among them label files.
      read: gives the bytes of a file.
      optional: files that may have a label but need none: those that cannot be read as images.

    Raises:
      DataError: two label files, one that cannot be read, an image without a label, a label without an image.
    """
    label_files = [name for name in LABEL_FILES if name in names]
    if len(label_files) > 1:
        raise DataError(f"{root} holds {label_files[0]} and {label_files[1]}; keep one of the two")
    nested = [name for name in names if "/" in name and name.rsplit("/", 1)[1] in LABEL_FILES]
    notes = [
        f"{name} lies in a subfolder and is not read; labels stand in one file beside all folders"
        for name in nested[:3]
    ]
    if label_files:
        where = f"{root}/{label_files[0]}"
        rows = _parse(label_files[0], read(label_files[0]), where, {*images, *optional})
        if rows is None:
            return Labels(notes=(*notes, f"{label_files[0]} says that there are no labels"))
        return _with(_numbers(_of_images(rows, images, optional, where), images, where), notes)
    folders = [name.split("/")[0] if "/" in name else None for name in images]
    if not any(folders):
        return Labels(notes=tuple(notes))
    if None in folders:
        loose = images[folders.index(None)]
        folder = next(filter(None, folders))
        raise DataError(f"{root}/{loose} lies beside the class folder {folder!r}; move it into one, or add labels.csv")
    notes += _odd_folders(root, images, folders, optional)  # type: ignore[arg-type]
    return _with(_named(folders, "class folders"), notes)  # type: ignore[arg-type]


def _named(labels: Sequence[str], what: str) -> Labels:
    numbered = number_names(labels, what)
    return Labels(numbered.labels, numbered.names, (numbered.note,) if numbered.note else ())


def _with(labels: Labels, notes: Sequence[str]) -> Labels:
    return dataclasses.replace(labels, notes=(*notes, *labels.notes))


def _odd_folders(root: str, images: Sequence[str], folders: Sequence[str], optional: Sequence[str]) -> list[str]:
    """Sentences about odd class folders: splits read as classes, classes one folder deeper, folders without an image."""
    notes = []
    kinds = set(folders)
    deeper = sorted({name.split("/")[1] for name in images if name.count("/") > 1}, key=natural)
    within = f"; name {root}/{folders[0]} to have the folders in it as classes" if deeper else ""
    if len(kinds) > 1 and kinds <= {"train", "test", "val", "valid", "validation", "training", "testing"}:
        notes.append(f"the class folders {', '.join(sorted(kinds))} look like splits and are read as classes{within}")
    elif len(kinds) > 1 and "00000" in kinds and all(len(kind) == 5 and kind.isdigit() for kind in kinds):
        notes.append(
            f"the folders {min(kinds)} .. {max(kinds)} are named like parts of one set (StyleGAN's tool cuts sets so) and are "
            "read as classes; a network of --net.num-classes 0 leaves them unused"
        )
    elif len(kinds) == 1 and deeper:
        notes.append(f"all images lie below the one folder {folders[0]!r}, which is the only class{within}")
    if empty := sorted({name.split("/")[0] for name in optional if "/" in name} - kinds, key=natural):
        notes.append(f"no image of the folder(s) {', '.join(empty)} can be read: they are no classes")
    return notes


def _parse(name: str, data: bytes, where: str, files: set[str]) -> list[tuple[str, Any]] | None:
    """(file, label) rows of a label file; None where it says that there are no labels."""
    try:
        text = data.decode("utf-8-sig")
        if name == "labels.csv":
            return _parse_csv(text, where, files)
        content = json.loads(text)
    except DataError:
        raise
    except UnicodeDecodeError as error:
        raise DataError(f"{where} cannot be read: it is not UTF-8 ({error.reason}); save it as UTF-8") from error
    except RecursionError as error:
        raise DataError(f"{where} cannot be read: it is nested too deeply") from error
    except (ValueError, csv.Error) as error:  # of JSON, of numbers with thousands of digits
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
            raise DataError(f'{where}: entry {i} must be ["file", label], not {_short(pair)}')
    return [(file, label) for file, label in pairs]


def _parse_csv(text: str, where: str, files: set[str]) -> list[tuple[str, Any]]:
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = next((mark for mark in ",;\t" if mark in first), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows = [(number, row) for number, row in enumerate(reader, 1) if any(cell.strip() for cell in row)]
    if rows and len(rows[0][1]) == 2:  # a header names no file, and has one of the usual titles
        file, label = (cell.strip() for cell in rows[0][1])
        if _tidy(file, files) not in files and (file.lower() in _FILE_HEADS or label.lower() in _LABEL_HEADS):
            rows = rows[1:]
    for number, row in rows:
        if len(row) != 2:
            raise DataError(f"{where}, line {number}: {len(row)} columns; each row is file,label")
    return [(row[0].strip(), row[1].strip()) for _, row in rows]


_FILE_HEADS = ("file", "filename", "file_name", "image", "img", "path", "name", "id", "image_id")
_LABEL_HEADS = ("label", "labels", "class", "target", "category", "class_id", "label_id")


def _of_images(rows: list[tuple[str, Any]], images: Sequence[str], optional: Sequence[str], where: str) -> list[Any]:
    """The label of every image, in the order of the images."""
    labels: dict[str, Any] = {}
    known = {*images, *optional}
    for file, label in rows:
        file = _tidy(file, known)
        if file in labels:
            raise DataError(f"{where} labels {file!r} twice")
        labels[file] = label
    if missing := [image for image in images if image not in labels]:
        hint = did_you_mean(missing[0], labels)
        raise DataError(f"{where} has no label for {missing[0]!r}{hint}; {len(missing)} image(s) without one")
    if extra := sorted(set(labels) - known):
        hint = did_you_mean(extra[0], images)
        raise DataError(f"{where} labels {extra[0]!r}, which is not there{hint}; {len(extra)} such label(s)")
    return [labels[image] for image in images]


def _tidy(file: str, known: set[str]) -> str:
    """A file's name as `Files` spells it: with slashes, and without a leading `./`."""
    if file in known:
        return file
    return re.sub(r"^(\./)+", "", file.replace("\\", "/"))


def _numbers(labels: Sequence[Any], images: Sequence[str], where: str) -> Labels:
    """Labels as int32 and, where they are names, the names in natural order."""
    numbers = [_whole(label) for label in labels]
    named = [isinstance(label, str) and label != "" for label in labels]
    if all(named) and None in numbers:
        return _named(labels, "labels")
    for image, label, number in zip(images, labels, numbers, strict=True):
        if number is None or not 0 <= number < 2**31:
            hint = ""
            if isinstance(label, list):
                hint = "; a vector (one-hot or several attributes) is no class, write the number of its class"
            text = _short(label if number is None else number)
            raise DataError(
                f"{where}: the label of {image!r} is {text}; use whole numbers from 0, or names for all{hint}"
            )
    array = np.array(numbers, np.int32)
    note = gap_note(array)
    return Labels(array, None, (note,) if note else ())


def _whole(label: Any) -> int | None:
    """A label as a whole number; None where it is none."""
    if isinstance(label, str):
        return whole_number(label)
    if isinstance(label, float) and label.is_integer():
        return int(label)
    return label if isinstance(label, int) and not isinstance(label, bool) else None


def _short(value: Any) -> str:
    """A value as text for an error, cut where it is long."""
    text = (
        f"a number of {value.bit_length()} bits" if isinstance(value, int) and value.bit_length() > 64 else repr(value)
    )
    return text if len(text) <= 60 else text[:57] + "..."
