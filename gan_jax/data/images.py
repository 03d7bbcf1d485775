"""Sets of images in memory, which every reader returns and every pipeline takes, and the order of their classes."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from gan_jax.trees import did_you_mean, digest

# ----------------------------------------------------------------------------------------------------------------------
# Numbers of class names: whole numbers by their value, other names in natural order.


class Numbered(NamedTuple):
    """Names turned into labels."""

    labels: np.ndarray  # [N] int32
    names: tuple[str, ...]  # by label
    note: str | None  # how names map to labels, where that is not obvious


def whole_number(text: str) -> int | None:
    """The whole number that a text spells: `7`, `07`, `7.0`; None for any other text."""
    match = _WHOLE.fullmatch(text.strip())
    return int(match[1]) if match else None


_WHOLE = re.compile(r"([+-]?[0-9]{1,18})(?:\.0*)?")


def natural(name: str) -> tuple[Any, ...]:
    """The sort key of a name: numbers in it by value, the rest as text; the name itself breaks ties."""
    parts = re.split(r"([0-9]+)", name)
    return (*((int(part[:4000]), "") if i % 2 else (-1, part) for i, part in enumerate(parts)), (-2, name))


def number_names(labels: Sequence[str], what: str) -> Numbered:
    """Names numbered in natural order; names that are 0 .. n-1 keep their numbers.

    Args:
      labels: a name for each image.
      what: kind of the names, for the note.
    """
    names = set(Counter(labels))
    values = {name: int(name) for name in names if re.fullmatch(r"[0-9]{1,18}", name)}
    numeric = len(values) == len(names)
    ordered = tuple(sorted(names, key=lambda name: (values[name], name) if numeric else natural(name)))
    index = {name: i for i, name in enumerate(ordered)}
    note = None
    if numeric and [values[name] for name in ordered] != list(range(len(ordered))):
        mapping = ", ".join(f"{name} -> {i}" for i, name in enumerate(ordered[:20])) + (
            " ..." if len(ordered) > 20 else ""
        )
        note = f"the {what} are whole numbers, but not 0 .. {len(ordered) - 1}: their labels are {mapping}"
    return Numbered(np.array([index[label] for label in labels], np.int32), ordered, note)


def gap_note(labels: np.ndarray) -> str | None:
    """A sentence about labels that are not 0 .. n-1; None where they are."""
    present = np.unique(labels)
    if int(present.max()) < len(present):
        return None
    labels_text = ", ".join(map(str, present[:20].tolist())) + (" ..." if len(present) > 20 else "")
    return f"the labels are {labels_text}: not 0 .. {len(present) - 1}, as which a conditional network numbers them in this order"


# ----------------------------------------------------------------------------------------------------------------------
# Sets of images.


class DataError(ValueError):
    """Data that cannot be used; the message names the file or the field and says what would be right."""


@dataclasses.dataclass(frozen=True, eq=False)
class Images:
    """Images `[N, H, W, C]` uint8 (C: 1 grey, 3 RGB, 4 RGBA with straight alpha) and, where known, their labels.

    Labels keep their numbers when classes are left out, so that `class_names[labels[i]]` stays valid.
    """

    images: np.ndarray  # [N, H, W, C] uint8
    labels: np.ndarray | None = None  # [N] int32, >= 0
    name: str = "arrays"  # the source, for people
    class_names: tuple[str, ...] | None = None  # by label
    notes: tuple[str, ...] = ()  # a sentence for each thing that reading lost or left out
    left_out: tuple[tuple[str, str], ...] = ()  # files that could not be read: (name, reason)

    def __post_init__(self) -> None:
        images = self.images
        if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 4:
            raise DataError(f"{self.name}: images must be uint8 [N, H, W, C], not {_describe(images)}")
        if images.shape[3] not in (1, 3, 4):
            first = images.shape[1] in (1, 3, 4)
            hint = "; if they are channels first, use images.transpose(0, 2, 3, 1)" if first else ""
            raise DataError(
                f"{self.name}: images have {images.shape[3]} channels; known are 1, 3, 4 (grey, RGB, RGBA){hint}"
            )
        if len(images) == 0:
            raise DataError(f"{self.name} holds no images")
        if self.labels is None:
            return
        labels = np.asarray(self.labels)
        if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
            raise DataError(f"{self.name}: labels must be integers [N], not {_describe(self.labels)}")
        if len(labels) != len(images):
            raise DataError(f"{self.name}: {len(labels)} labels for {len(images)} images")
        if labels.min() < 0 or labels.max() > np.iinfo(np.int32).max:
            worst = int(labels.min() if labels.min() < 0 else labels.max())
            raise DataError(f"{self.name}: label {worst} is outside 0 .. 2^31 - 1")
        if self.class_names is not None and int(labels.max()) >= len(self.class_names):
            raise DataError(f"{self.name}: label {int(labels.max())}, but only {len(self.class_names)} class names")
        object.__setattr__(self, "labels", labels.astype(np.int32))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def resolution(self) -> tuple[int, int]:
        """Height and width, px."""
        return self.images.shape[1], self.images.shape[2]

    @property
    def channels(self) -> int:
        """1 grey, 3 RGB, 4 RGBA."""
        return self.images.shape[3]

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of shapes, pixels and labels, without name and notes."""
        labels = "none" if self.labels is None else digest(self.labels)
        return hashlib.sha256(f"{digest(self.images)} {labels}".encode()).hexdigest()

    def take(self, indices: Any) -> Images:
        """The images at these positions, in this order."""
        indices = np.asarray(indices)
        labels = None if self.labels is None else self.labels[indices]
        return dataclasses.replace(self, images=self.images[indices], labels=labels)

    def of_classes(self, classes: Iterable[int | str]) -> Images:
        """The images of these classes (names or labels), in the order of the set; labels keep their numbers.

        Raises:
          DataError: a class that is not there, or is named twice; a set without labels.
        """
        chosen = choose_classes(classes, self.labels, self.class_names, self.name)
        return self.take(np.flatnonzero(np.isin(self.labels, chosen)))  # type: ignore[arg-type]

    def class_index(self, name: int | str) -> int:
        """The label of a class, by its name or, where no class has that name, by its label."""
        return class_index(name, self.class_names, self.name)


def choose_classes(
    classes: Iterable[int | str], labels: np.ndarray | None, class_names: Sequence[str] | None, where: str
) -> list[int]:
    """The labels of the chosen classes, in the order in which they were named.

    Args:
      classes: names or labels.
      labels: of all images, `[N]`.
      class_names: by label, where there are any.
      where: the set, for errors.
    """
    classes = list(classes)
    chosen = [class_index(c, class_names, where) for c in classes]
    if labels is None:
        raise DataError(f"{where} has no labels to choose classes by; leave data.classes out")
    present = np.unique(labels).tolist()
    for i, label in enumerate(chosen):
        if label not in present:
            available = _classes(present, class_names if isinstance(classes[i], str) else None)
            raise DataError(f"{where} has no image of class {classes[i]}; it has {available}")
        if label in chosen[:i]:
            raise DataError(f"class {classes[i]} is named twice in data.classes; name each class once")
    if not chosen:
        raise DataError(f"{where}: no class chosen; leave classes out for all")
    return chosen


def class_index(name: int | str, class_names: Sequence[str] | None, where: str) -> int:
    """The label of a class, by its name (which may be a whole number) or, where no class has that name, by its label."""
    names = list(class_names or ())
    text = str(name)
    if text in names:
        return names.index(text)
    number = whole_number(text)
    if number is None:
        hint = f"its classes are {', '.join(names)}" if names else "it has no class names, use label numbers"
        raise DataError(f"{where} has no class {name!r}{did_you_mean(text, names)}; {hint}")
    numbers = [whole_number(class_name) for class_name in names]
    if names and None not in numbers:  # 2 is the class that is called 02, never the third one
        if numbers.count(number) != 1:
            raise DataError(f"{where} has no class called {name}; its classes are {', '.join(names)}")
        return numbers.index(number)
    return number


def from_arrays(
    images: Any, labels: Any = None, *, name: str = "arrays", class_names: Sequence[str] | None = None
) -> Images:
    """Wraps arrays: images `[N, H, W]` or `[N, H, W, C]` uint8; labels `[N]` whole numbers or names, or None."""
    images = np.asarray(images)
    if images.dtype == np.uint8 and images.ndim == 3:
        images = images[..., None]
    if images.dtype != np.uint8 and images.ndim in (3, 4):
        raise DataError(f"{name}: images must be uint8 in 0 .. 255, not {images.dtype.name}; to_uint8 takes [-1, 1]")
    if labels is None:
        return Images(images, None, name, None if class_names is None else tuple(class_names))
    labels, notes = np.asarray(labels), ()
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]  # the [N, 1] that several archives store
    if labels.ndim == 2:
        hint = "; one-hot labels are turned into numbers by labels.argmax(1)" if labels.shape[0] == len(images) else ""
        raise DataError(f"{name}: labels must be integers [N], not {_describe(labels)}{hint}")
    if labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels == np.floor(labels)).all():
        labels = labels.astype(np.int64)  # 2.0, as table programs write it where one is missing
    if labels.dtype.kind in "US" and labels.ndim == 1:
        texts = [label.decode("utf-8", "replace") if isinstance(label, bytes) else label for label in labels.tolist()]
        numbers = [whole_number(text) for text in texts]
        if None in numbers:
            labels, class_names, note = number_names(texts, "labels")
            notes = (note,) if note else ()
        else:
            labels = np.array(numbers, np.int64)
    return Images(images, labels, name, None if class_names is None else tuple(class_names), notes)


def describe(images: Images) -> dict[str, Any]:
    """The facts of a set as JSON values: name, count, size, channels, images per class, pixel mean, fingerprint."""
    counts = None
    if images.labels is not None:
        numbers, sizes = np.unique(images.labels, return_counts=True)
        title = lambda label: images.class_names[label] if images.class_names else str(label)  # noqa: E731
        counts = {title(int(label)): int(size) for label, size in zip(numbers, sizes, strict=True)}
    height, width = images.resolution
    return {
        "name": images.name,
        "images": len(images),
        "height": height,
        "width": width,
        "channels": images.channels,
        "classes": counts,
        "mean": round(float(images.images.mean(dtype=np.float64)), 3),
        "fingerprint": images.fingerprint,
    }


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype.name}{list(value.shape)}"
    return type(value).__name__


def _classes(labels: Sequence[int], names: Sequence[str] | None) -> str:
    """The classes of a set as text: their names, or their labels where there are no names."""
    if names:
        return ", ".join(names[label] for label in labels[:20]) + (" ..." if len(labels) > 20 else "")
    return ", ".join(map(str, labels)) if len(labels) <= 20 else f"{labels[0]} .. {labels[-1]}"
