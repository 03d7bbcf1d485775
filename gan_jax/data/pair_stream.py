"""Pairs that are too many for memory: read from their files as batches need them, each row at the size that it is used in."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from gan_jax.data.convert import Fit, Shape
from gan_jax.data.decode import BadImage, Facts, NoIndices
from gan_jax.data.files import Bad, left_out_text, mapped, printable
from gan_jax.data.images import DataError
from gan_jax.data.label_maps import count_labels, number_maps
from gan_jax.data.pair_files import Form, Side, refuse_rows
from gan_jax.data.pair_specs import split_pair_spec
from gan_jax.data.pairs import (
    Pairs,
    PairSource,
    Request,
    labels_of_tfds,
    load_pairs,
    open_sides,
    source_of_tfds,
)
from gan_jax.data.tfds_pairs import open_tfds_pairs
from gan_jax.trees import digest

_SAMPLED = 16  # rows that a fingerprint reads


@dataclasses.dataclass(frozen=True, eq=False)
class StreamedPairs:
    """Pairs in files: `read` decodes a row and brings it to its size. A set keeps its zips open until it is closed.

    Attributes:
      source: the open sides.
      forms: that the sides get.
      size: height and width of all rows, px.
      names: of the inputs, and of the images of pairs.
      image_names: of the images of unpaired sets.
      num_labels, class_names: of layouts, as in `Pairs`.
      notes: a sentence for what was left out.
      left_out: files that cannot be read: (path, reason).
      close: closes the files.
    """

    source: PairSource
    forms: tuple[Form, ...]
    size: int
    names: tuple[str, ...]
    image_names: tuple[str, ...] | None = None
    num_labels: int | None = None
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    close: Any = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def kind(self) -> str:
        """As of `Pairs`."""
        return self.source.kind

    @property
    def name(self) -> str:
        """The spec."""
        return self.source.name

    @property
    def image_count(self) -> int:
        """The number of images, that of inputs but for unpaired sets."""
        return len(self.names if self.image_names is None else self.image_names)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of kind, names and size, and of up to 16 evenly spaced rows: a changed file may not be noticed."""
        total = hashlib.sha256(f"{self.kind} {self.num_labels} {self.size} {self.names} {self.image_names}".encode())
        places = lambda count: (
            np.linspace(0, count - 1, min(_SAMPLED, len(self), self.image_count)).astype(int).tolist()
        )
        for first, second in zip(places(len(self)), places(self.image_count), strict=True):
            for array in self.read(first, second).values():
                total.update(digest(array).encode())
        return total.hexdigest()

    def read(self, first: int, second: int) -> dict[str, np.ndarray]:
        """A row `{"input", "image"}`, of layouts with `instance` where there are instances.

        Args:
          first: position of the input.
          second: position of the image; the same in pairs and layouts.
        """
        if self.image_names is not None:
            sides = [self.source.sides[0].load(self.names[first]), self.source.sides[1].load(self.image_names[second])]
        else:
            sides = self.source.read(self.names[first])
            if len({(facts.width, facts.height) for _, facts in sides}) > 1:
                raise DataError(f"{self.name}: the sides of {printable(self.names[first])} have different sizes")
        rows = [form.fit(pixels) for form, (pixels, _) in zip(self.forms, sides, strict=True)]
        if self.num_labels is not None:
            rows[0] = number_maps(rows[0], self.num_labels)
        return dict(zip(("input", "image", "instance"), rows))

    def take(self, indices: Any, images: Any = None) -> StreamedPairs:
        """The set with only these positions, as of `Pairs.take`."""
        rows = np.asarray(indices).tolist()
        of_images = self.image_names
        if of_images is not None and images is not None:
            of_images = tuple(of_images[i] for i in np.asarray(images).tolist())
        return dataclasses.replace(self, names=tuple(self.names[i] for i in rows), image_names=of_images)

    def load(self) -> Pairs:
        """All rows in memory."""
        count = max(len(self), self.image_count)
        rows = [self.read(i % len(self), i % self.image_count) for i in range(count)]
        stack = lambda name, n: np.stack([row[name] for row in rows[:n]])
        return Pairs(
            stack("input", len(self)), stack("image", self.image_count), self.source.kind,
            stack("instance", len(self)) if len(self.forms) == 3 else None, self.num_labels, self.names, self.image_names,
            self.class_names, self.name, self.notes, self.left_out,
        )  # fmt: skip


def open_pairs(
    spec: Any,
    *,
    resolution: int,
    in_channels: int,
    channels: int,
    fit: Fit = "crop",
    bad: Bad = "skip",
    load_size: int | None = None,
    num_labels: int | None = None,
) -> Pairs | StreamedPairs:
    """Opens pairs to read them as needed; arrays and npz files are loaded into memory.

    Names and counts are matched, sizes compared by the headers of files, and label maps read once, so that what does not
    fit is known before training. Damage behind a header is an error when the row is read.

    Args:
      spec, resolution, in_channels, channels, fit, bad, load_size, num_labels: as for `load_pairs`.

    Raises:
      DataError: as `load_pairs`.
    """
    kind = spec.partition(":")[0] if isinstance(spec, str) else ""
    options: dict[str, Any] = {"fit": fit, "bad": bad, "load_size": load_size, "num_labels": num_labels}
    if not isinstance(spec, str) or kind == "npz":
        return load_pairs(spec, resolution=resolution, in_channels=in_channels, channels=channels, **options)
    size = load_size or resolution
    if size < resolution:
        raise DataError(f"data.load_size {load_size} is smaller than the {resolution} px that are cut out of it")
    request = Request(Shape(size, in_channels, fit), Shape(size, channels, fit), bad, num_labels)
    with contextlib.ExitStack() as stack:
        parts = split_pair_spec(spec)
        if kind == "tfds":
            data = open_tfds_pairs(parts.paths[0])
            source = source_of_tfds(data, request)
            request = labels_of_tfds(data, request)
        else:
            source = open_sides(parts, stack)
        return _checked(source, request, size, stack)


def _checked(source: PairSource, request: Request, size: int, stack: contextlib.ExitStack) -> StreamedPairs:
    """Leaves out rows that cannot be read, and compares sizes and labels."""
    forms = tuple(request.forms(source.kind == "layout", len(source.sides)))
    left_out: list[tuple[str, str]] = []
    image_names = None
    present: list[np.ndarray] = []
    if source.kind == "unpaired":
        names = [name for name, _ in _readable(source.names, source.sides[:1], source.name, left_out)]
        rows = source.sides[1].names
        image_names = tuple(name for name, _ in _readable(rows, source.sides[1:], source.name, left_out))
    else:
        maps = source.kind == "layout"
        rows = list(_readable(source.names, source.sides, source.name, left_out, maps))
        names, present = [name for name, _ in rows], [labels for _, labels in rows if labels is not None]
    total = len(left_out) + len(names)
    if left_out and (request.bad == "fail" or not names):
        raise DataError(f"{source.name}: {left_out_text(left_out, most=None if names else 3)}")
    if not names or image_names == ():
        raise DataError(f"{source.name} holds no row that can be read")
    class_names = source.sides[0].class_names
    count = None
    if source.kind == "layout":
        count = count_labels(present, names, class_names, request.num_labels, source.name)
    notes = (f"{len(left_out)} of {total} left out: {left_out_text(left_out)}",) if left_out else ()
    return StreamedPairs(
        source, forms, size, tuple(names), image_names, count, class_names, notes, tuple(left_out), stack.pop_all().close
    )  # fmt: skip


def _readable(
    names: Sequence[str], sides: Sequence[Side], where: str, left_out: list[tuple[str, str]], maps: bool = False
) -> Iterator[tuple[str, np.ndarray | None]]:
    """The rows whose headers can be read, with the labels in the map of each; others are added to those left out."""

    def look(name: str) -> Any:
        try:
            labels, facts = None, []
            for i, side in enumerate(sides):
                if name not in side.rows and side.header is not None:
                    raise BadImage(*side.left_out[name])
                if maps and i == 0:
                    pixels, of_file = side.load(name) if side.rows else side.read(name)
                    labels = np.unique(pixels)
                    facts.append(of_file)
                elif side.header is not None:
                    facts.append(side.header(side.rows[name]))
            return labels, facts
        except (BadImage, NoIndices) as error:
            return error

    sizes: list[str] = []
    odd: list[str] = []
    colours: list[str] = []
    kept: list[tuple[str, np.ndarray | None]] = []
    halves = len(sides) > 1 and sides[0] is sides[1]
    for name, result in mapped(look, names):
        if isinstance(result, BadImage):
            left_out.append((str(result).removesuffix(f" {result.reason}"), result.reason))
        elif isinstance(result, NoIndices):
            colours.append(str(result))
        else:
            labels, facts = result
            if len({(fact.width, fact.height) for fact in facts}) > 1:
                sizes.append(f"{printable(name)} ({', '.join(_size(fact) for fact in facts)} px)")
            elif halves and facts and facts[0].width % 2:
                odd.append(f"{printable(name)} is {_size(facts[0])} px")
            else:
                kept.append((name, labels))
    refuse_rows(where, len(names), sizes, odd, colours)
    yield from kept


def _size(facts: Facts) -> str:
    return f"{facts.width} x {facts.height}"


def read_row(pairs: Pairs | StreamedPairs, first: int, second: int) -> dict[str, np.ndarray]:
    """A row of a set in memory or in files, as of `StreamedPairs.read`."""
    if isinstance(pairs, StreamedPairs):
        return pairs.read(first, second)
    row = {"input": pairs.inputs[first], "image": pairs.images[second]}
    return row if pairs.instances is None else row | {"instance": pairs.instances[first]}
