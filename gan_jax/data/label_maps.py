"""Label maps: pictures whose pixels are numbers of classes. Fitted without mixing numbers, named and checked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

import numpy as np

from gan_jax.data.convert import Shape
from gan_jax.data.images import DataError

# ----------------------------------------------------------------------------------------------------------------------
# Size: the nearest pixel, so that no label is a mixture of two others.

DONT_CARE = 255  # in files of up to 255 classes: pixels of no class
NOWHERE = -1  # pixels that padding adds, before they are don't care


def resize_nearest(maps: np.ndarray, resolution: int | tuple[int, int]) -> np.ndarray:
    """Resizes `[N, H, W]` of any dtype: each pixel is that of the source below its centre, as of Pillow's NEAREST."""
    height, width = (resolution, resolution) if isinstance(resolution, int) else resolution
    rows, columns = (
        (2 * np.arange(n) + 1) * size // (2 * n) for n, size in ((height, maps.shape[1]), (width, maps.shape[2]))
    )
    return maps[:, rows[:, None], columns]


def fit_maps(maps: np.ndarray, shape: Shape, fill: int = NOWHERE) -> np.ndarray:
    """Brings `[N, H, W]` to a shape by the same crop, padding or stretching as `convert.fit_pixels` does images.

    Args:
      maps: of whole numbers, which stay as they are.
      shape: that they get; its channels do not matter.
      fill: the number that padding adds.
    """
    _, h, w = maps.shape
    squared = h != w and (shape.square or shape.resolution is not None)
    if squared and shape.fit == "crop":
        side = min(h, w)
        top, left = (h - side) // 2, (w - side) // 2
        maps = maps[:, top : top + side, left : left + side]
    if squared and shape.fit == "pad":
        side, longer = shape.resolution or max(h, w), max(h, w)
        maps = resize_nearest(maps, (max(1, round(h * side / longer)), max(1, round(w * side / longer))))
        out = np.full((len(maps), side, side), fill, maps.dtype)
        top, left = (side - maps.shape[1]) // 2, (side - maps.shape[2]) // 2
        out[:, top : top + maps.shape[1], left : left + maps.shape[2]] = maps
        return out
    if shape.resolution is not None:
        return resize_nearest(maps, shape.resolution)
    return resize_nearest(maps, min(h, w)) if squared and shape.fit == "stretch" else maps


# ----------------------------------------------------------------------------------------------------------------------
# Names of classes, and the check of labels against them.

CLASS_FILES = ("classes.txt", "classes.json")


def find_class_names(root: str, names: Sequence[str], read: Callable[[str], bytes]) -> tuple[str, ...] | None:
    """The names of classes, by label, from a file beside label maps; None where there is none.

    `classes.txt` has a name a line, that of label 0 first; `classes.json` a list of names, or `{"0": "sky", ..}`.

    Args:
      root: where the maps are, for errors.
      names: all files there.
      read: gives the bytes of a file.

    Raises:
      DataError: two such files, or one that names no classes.
    """
    files = [name for name in CLASS_FILES if name in names]
    if len(files) > 1:
        raise DataError(f"{root} holds {files[0]} and {files[1]}; keep one of the two")
    if not files:
        near = [name for name in names if name.lower() in ("class.txt", "labels.txt", "names.txt", "class_names.txt")]
        if near:
            raise DataError(
                f"{root} holds {near[0]}; names of classes are read from {CLASS_FILES[0]}: rename or remove it"
            )
        return None
    where = f"{root}/{files[0]}"
    try:
        text = read(files[0]).decode("utf-8-sig")
        class_names = _of_json(json.loads(text), where) if files[0].endswith("json") else _of_lines(text, where)
    except DataError:
        raise
    except (ValueError, RecursionError) as error:  # of JSON and of UTF-8
        raise DataError(f"{where} cannot be read: {error}") from error
    if not class_names:
        raise DataError(f"{where} names no class; write a name a line")
    doubled = sorted({name for name in class_names if class_names.count(name) > 1})
    if doubled:
        raise DataError(f"{where} has the class {doubled[0]!r} twice; give each label a name of its own")
    return class_names


def _of_lines(text: str, where: str) -> tuple[str, ...]:
    lines = [line.strip() for line in text.rstrip().splitlines()]
    if "" in lines:
        raise DataError(f"{where}, line {lines.index('') + 1} is empty, but is the name of label {lines.index('')}")
    return tuple(lines)


def _of_json(content: object, where: str) -> tuple[str, ...]:
    remedy = f'{where} must hold ["name of 0", "name of 1", ..] or {{"0": "name", ..}}'
    if isinstance(content, dict):
        numbers = [int(key) if re.fullmatch(r"[0-9]{1,9}", key) else None for key in content]
        if None in numbers or sorted(n for n in numbers if n is not None) != list(range(len(numbers))):
            raise DataError(f"{remedy}, with all numbers from 0 on")
        content = [name for _, name in sorted(zip(numbers, content.values(), strict=True), key=lambda row: row[0] or 0)]
    if not isinstance(content, list) or not all(isinstance(name, str) and name for name in content):
        raise DataError(remedy)
    return tuple(content)


def count_labels(
    present: Sequence[np.ndarray], names: Sequence[str], class_names: Sequence[str] | None, num_labels: int | None,
    where: str,
) -> int:  # fmt: skip
    """The number of classes of label maps: that of a network, of the class names, or one more than the largest label.

    Args:
      present: the labels of each map, ascending.
      names: of the maps.
      class_names: by label, where they are known.
      num_labels: classes of the network; None = any number.
      where: the set, for errors.

    Raises:
      DataError: other numbers of classes, or labels beyond them; names the first maps.
    """
    if class_names is not None and num_labels not in (None, len(class_names)):
        raise DataError(
            f"{where} has the names of {len(class_names)} classes, but the network has {num_labels}; "
            f"use net.num_labels {len(class_names)}"
        )
    count = num_labels if class_names is None else len(class_names)
    if count is None:
        top = max(int(labels[-1]) for labels in present)
        if top == DONT_CARE:
            top = max(
                (int(labels[labels != DONT_CARE][-1]) for labels in present if (labels != DONT_CARE).any()), default=0
            )
        return top + 1
    known = lambda labels: (labels < count) | ((labels == DONT_CARE) if count <= DONT_CARE else False)
    wrong = [
        (name, labels[~known(labels)]) for name, labels in zip(names, present, strict=True) if not known(labels).all()
    ]
    if wrong:
        listed = ", ".join(f"{name} ({', '.join(map(str, labels[:3].tolist()))})" for name, labels in wrong[:3])
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        source = "named" if class_names is not None else "in num_labels"
        care = f", and {DONT_CARE} is don't care" if count <= DONT_CARE else ""
        raise DataError(
            f"{where}: {len(wrong)} of {len(names)} label maps have labels beyond the {count} classes {source} "
            f"(0 .. {count - 1}{care}): {listed}{more}"
        )
    return count


def number_maps(maps: np.ndarray, count: int) -> np.ndarray:
    """Label maps `[N, H, W]` with don't care as the label `count`; uint8 where that fits, else int32."""
    dont_care = maps == NOWHERE
    if count <= DONT_CARE:
        dont_care |= maps == DONT_CARE
    return np.where(dont_care, count, maps).astype(np.uint8 if count <= DONT_CARE else np.int32)


# ----------------------------------------------------------------------------------------------------------------------
# Colours, to look at label maps.


def colour_labels(maps: np.ndarray, count: int) -> np.ndarray:
    """Label maps `[..., H, W]` as RGB `[..., H, W, 3]` uint8, a colour a class; don't care is black."""
    labels = np.arange(count)
    hue = (labels * 0.61803398875) % 1  # golden ratio: neighbours are far apart
    value = np.where(labels % 3 == 2, 0.65, 0.95)
    saturation = np.where(labels % 2 == 1, 0.55, 0.85)
    ramp = np.abs((hue[:, None] * 6 + np.array([0, 4, 2])) % 6 - 3) - 1
    colours = value[:, None] * (1 - saturation[:, None] * (1 - ramp.clip(0, 1)))
    return np.concatenate([np.rint(colours * 255).astype(np.uint8), np.zeros((1, 3), np.uint8)])[maps]
