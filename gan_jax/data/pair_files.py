"""The two or three sides of a set of pairs: files matched by name, and rows read from them into arrays."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.data.convert import Shape, fit_pixels, has_colour
from gan_jax.data.decode import EXTENSIONS, BadImage, Facts, NoIndices, decode_file, decode_indices, read_header
from gan_jax.data.files import (
    Bad,
    Files,
    left_out_text,
    mapped,
    mixed_text,
    open_folder,
    open_zip,
    printable,
    sentences,
    sort_files,
)
from gan_jax.data.images import DataError
from gan_jax.data.label_maps import NOWHERE, find_class_names, fit_maps
from gan_jax.data.sources import existing, read_arrays
from gan_jax.trees import did_you_mean

Read = tuple[np.ndarray, Facts]  # an image [H, W, C] uint8 or a map [H, W] int32, and the facts of its file

_NAMED = 3  # offenders that an error names

# ----------------------------------------------------------------------------------------------------------------------
# Sides: what lies at one path, by name.


@dataclasses.dataclass(frozen=True)
class Form:
    """What the rows of a side become.

    Attributes:
      title: of the side in messages: `inputs`, `images`, `instances`.
      shape: that images get.
      maps: whether they are maps of numbers.
    """

    title: str
    shape: Shape
    maps: bool = False

    def fit(self, pixels: np.ndarray) -> np.ndarray:
        """One row, brought to the shape."""
        if self.maps:
            return fit_maps(pixels[None], self.shape, 0 if self.title == "instances" else NOWHERE)[0]
        shape = self.shape
        if shape.channels == pixels.shape[2]:  # any number: arrays may have other channels than images
            shape = dataclasses.replace(shape, channels=None)
        return fit_pixels(pixels[None], shape)[0]


@dataclasses.dataclass(frozen=True)
class Side:
    """One side of a set.

    Attributes:
      root: where it lies, for errors.
      rows: name without ending -> what `read` takes.
      read: one row, decoded.
      left_out: pictures that are not read: name without ending -> (path, reason).
      class_names: by label, of a side of label maps.
      named: whether rows have names; those without are matched by their position.
      header: the facts of a row without decoding it; None where there are none.
    """

    root: str
    rows: Mapping[str, Any]
    read: Callable[[Any], Read]
    left_out: Mapping[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
    class_names: tuple[str, ...] | None = None
    named: bool = True
    header: Callable[[Any], Facts] | None = None

    @property
    def names(self) -> list[str]:
        """Of all rows, also those that cannot be read."""
        return list(self.rows) if not self.left_out else sorted({*self.rows, *self.left_out})

    def load(self, name: str) -> Read:
        """Decodes one row; raises a BadImage where it cannot be read."""
        if name not in self.rows:
            raise BadImage(*self.left_out[name])
        return self.read(self.rows[name])


def stem(name: str) -> str:
    """A file's path below its folder without the ending, by which it is matched: `a/b` of `a/b.png`."""
    start, dot, ending = name.rpartition(".")
    return start if start and f"{dot}{ending}".lower() in EXTENSIONS else name


def side_of_files(files: Files, maps: bool = False) -> Side:
    """The images of a folder or zip as a side.

    Raises:
      DataError: there is no image, or two with one name.
    """
    images, left_out, _ = sort_files(files)
    rows: dict[str, str] = {}
    for name in images:
        if (other := rows.setdefault(stem(name), name)) != name:
            raise DataError(
                f"{files.root} holds {printable(other)} and {printable(name)}: rows are matched by name without "
                "ending, so that these are one; rename one of them"
            )

    def read(name: str) -> Read:
        where = files.where(name)
        try:
            data = files.read(name)
        except BadImage as error:
            raise BadImage(where, error.reason) from error
        except OSError as error:
            raise BadImage(where, f"cannot be read: {error.strerror or error}") from error
        return decode_indices(data, where) if maps else decode_file(data, where)

    def header(name: str) -> Facts:
        where = files.where(name)
        try:
            with files.stream(name) as stream:
                return read_header(stream, where)
        except BadImage as error:
            raise BadImage(where, error.reason) from error
        except OSError as error:
            raise BadImage(where, f"cannot be read: {error.strerror or error}") from error

    unread = {stem(name): (files.where(name), reason) for name, reason in left_out}
    return Side(files.root, rows, read, {name: row for name, row in unread.items() if name not in rows}, header=header)


def side_of_array(array: np.ndarray, names: Sequence[str] | None, root: str, maps: bool = False) -> Side:
    """Rows `[N, H, W(, C)]` of an array as a side.

    Raises:
      DataError: the array is not one of images, or of label maps with `maps`.
    """
    array = np.asarray(array)
    kind = f"{array.dtype.name}{list(array.shape)}"
    if maps and (array.ndim != 3 or not np.issubdtype(array.dtype, np.integer)):
        raise DataError(f"{root}: label maps must be whole numbers [N, H, W], not {kind}")
    if not maps and (array.ndim not in (3, 4) or array.dtype != np.uint8):
        raise DataError(f"{root}: images must be uint8 [N, H, W, C], not {kind}")
    if maps and array.size and (array.min() < 0 or array.max() > np.iinfo(np.int32).max):
        raise DataError(f"{root}: labels must lie in 0 .. 2^31 - 1, but some are {array.min()} or {array.max()}")
    if not len(array):
        raise DataError(f"{root} holds no images: its array is {kind}")
    if names is not None and len(names) != len(array):
        raise DataError(f"{root}: {len(names)} names for {len(array)} images")
    if names is not None and len(set(names)) < len(names):
        raise DataError(f"{root} has the name {next(name for name in names if list(names).count(name) > 1)!r} twice")
    array = array[..., None] if not maps and array.ndim == 3 else array

    def read(row: int) -> Read:
        pixels = array[row].astype(np.int32) if maps else array[row]
        alpha = pixels.ndim == 3 and pixels.shape[2] == 4 and bool((pixels[..., 3] < 255).any())
        mode = "L" if maps or pixels.shape[2] == 1 else "RGB" if pixels.shape[2] == 3 else "RGBA"
        return pixels, Facts(pixels.shape[1], pixels.shape[0], mode, "", alpha=alpha)

    keys = map(str, range(len(array))) if names is None else names
    return Side(root, {key: row for row, key in enumerate(keys)}, read, named=names is not None)


@contextlib.contextmanager
def open_side(path: str, maps: bool = False, labels: bool = False) -> Iterator[Side]:
    """One side of a set, open; of label maps with the names of their classes."""
    place = Path(path).expanduser()
    if place.suffix.lower() == ".npz" and place.is_file():
        yield _array_side(place, maps, labels)
        return
    if place.is_file() and place.suffix.lower() != ".zip":
        raise DataError(f"{place} is a file; a side is a folder, a zip or an npz file")
    opened = open_zip(place) if place.is_file() else open_folder(existing(path, "folder"))
    with opened as files:
        side = side_of_files(files, maps)
        yield dataclasses.replace(side, class_names=_class_names(files)) if labels else side


def _class_names(files: Files) -> tuple[str, ...] | None:
    def read(name: str) -> bytes:
        try:
            return files.read(name)
        except (DataError, OSError) as error:
            raise DataError(f"{files.where(name)} cannot be read: {error}") from error

    return find_class_names(files.root, files.names, read)


def _array_side(path: Path, maps: bool, labels: bool) -> Side:
    """The one array of pictures in an npz file, or that called `images` (`labels` of label maps, `instances`)."""
    wanted = ("labels", "inputs", "images") if labels else ("instances", "images") if maps else ("images", "inputs")

    def choose(keys: list[str]) -> dict[str, str]:
        arrays = [key for key in keys if key not in ("names", "class_names")]
        key = next((key for key in wanted if key in arrays), arrays[0] if len(arrays) == 1 else None)
        if key is None:
            raise DataError(f"{path} has no array {wanted[0]!r}; it holds {', '.join(map(repr, keys)) or 'nothing'}")
        return {"pixels": key} | {name: name for name in ("names", "class_names") if name in keys}

    arrays = read_arrays(path, choose)
    side = side_of_array(arrays["pixels"], texts(arrays.get("names")), str(path), maps)
    return dataclasses.replace(side, class_names=texts(arrays.get("class_names"))) if labels else side


def texts(array: np.ndarray | None) -> tuple[str, ...] | None:
    """An array of names as texts."""
    return None if array is None else tuple(map(str, array.tolist()))


def match(sides: Sequence[Side], titles: Sequence[str], where: str) -> list[str]:
    """The names that all sides have, in order; pictures that are not read count as there.

    Raises:
      DataError: a name that a side lacks; says the first ones of both directions and the counts.
    """
    if len({side.named for side in sides}) > 1:
        bare = next(side for side in sides if not side.named)
        raise DataError(
            f"{where}: {bare.root} has no array 'names' to match its rows with files by; add one, of as many texts as rows"
        )
    if not all(side.named for side in sides):
        counts = [len(side.rows) for side in sides]
        if len(set(counts)) > 1:
            raise DataError(
                f"{where}: {' and '.join(f'{n} {title}' for n, title in zip(counts, titles, strict=True))}; rows without "
                "names are matched by position, so that there must be as many of each"
            )
        return list(sides[0].rows)
    present = [set(side.names) for side in sides]
    problems = []
    for i, j in [(0, 1), (1, 0), *((0, 2), (2, 0))[: 2 * (len(sides) - 2)]]:
        if lone := sorted(present[i] - present[j]):
            near = did_you_mean(lone[0], present[j] - present[i]) if len(lone) < 10 else ""
            listed = ", ".join(map(printable, lone[:_NAMED])) + (
                f" and {len(lone) - _NAMED} more" if lone[_NAMED:] else ""
            )
            problems.append(f"{len(lone)} of {titles[i]} without a partner in {titles[j]}: {listed}{near}")
    if problems:
        counts_text = ", ".join(
            f"{len(there)} {title} in {side.root}" for there, title, side in zip(present, titles, sides, strict=True)
        )
        raise DataError(
            f"{where} does not match: {'; '.join(problems)}. There are {counts_text}; the files of a pair have the same path "
            "without the ending"
        )
    return sorted(set.intersection(*present))


def joined_halves(side: Side, swapped: bool) -> Callable[[str], list[Read]]:
    """A reader of pictures that hold the input left and the image right; `swapped`: the other way round."""

    def read(name: str) -> list[Read]:
        pixels, facts = side.load(name)
        if pixels.shape[1] % 2:
            raise OddWidth(f"{printable(name)} is {facts.width} x {facts.height} px")
        half = pixels.shape[1] // 2
        left, right = pixels[:, :half], pixels[:, half:]
        facts = dataclasses.replace(facts, width=half)
        return [(right, facts), (left, facts)] if swapped else [(left, facts), (right, facts)]

    return read


class MixedShapes(DataError):
    """Rows of several sizes or numbers of channels, where the caller asked for no size or channels."""


class OddWidth(DataError):
    """A picture that cannot be cut into two halves."""


# ----------------------------------------------------------------------------------------------------------------------
# Reading rows.


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows that were read, the arrays of all sides in one order.

    Attributes:
      arrays: of each side, `[N, H, W, C]` uint8 or `[N, H, W]` int32.
      names: of the rows.
      facts: of each side, of each row's file.
      left_out: rows that could not be read: (name, reason).
      present: of each row the labels in its first map, ascending; empty where the first side has images.
      notes: a sentence for each thing that was lost or left out.
    """

    arrays: tuple[np.ndarray, ...]
    names: tuple[str, ...]
    facts: tuple[tuple[Facts, ...], ...]
    left_out: tuple[tuple[str, str], ...]
    present: tuple[np.ndarray, ...]
    notes: tuple[str, ...]


def read_rows(
    names: Sequence[str],
    read: Callable[[str], list[Read]],
    forms: Sequence[Form],
    root: str,
    bad: Bad = "skip",
) -> Rows:
    """Reads rows in threads; each is brought to its form at once, so that large originals need no memory.

    Args:
      names: of the rows.
      read: what a row holds, for each side.
      forms: of the sides.
      root: of the set, for errors.
      bad: "skip" leaves out rows that have a file that cannot be read, "fail" refuses them with all their names.

    Raises:
      DataError: rows of several sizes, colours where numbers are expected; names the first ones.
    """

    def work(name: str) -> Any:
        try:
            sides = read(name)
        except (BadImage, NoIndices, OddWidth) as error:
            return error
        sizes = [(facts.width, facts.height) for _, facts in sides]
        if len(set(sizes)) > 1:
            return sizes
        present = np.unique(sides[0][0]) if forms[0].maps else None
        lost = [not f.maps and f.shape.channels == 1 and has_colour(x) for f, (x, _) in zip(forms, sides, strict=True)]
        return [f.fit(x) for f, (x, _) in zip(forms, sides, strict=True)], [facts for _, facts in sides], lost, present

    stacks: list[np.ndarray] = []
    kept: list[str] = []
    facts: list[list[Facts]] = []
    present: list[np.ndarray] = []
    colour = np.zeros(len(forms), int)
    left_out: list[tuple[str, str]] = []
    sizes: list[str] = []
    odd: list[str] = []
    colours: list[str] = []
    for name, result in mapped(work, names):
        if isinstance(result, BadImage):
            left_out.append((str(result).removesuffix(f" {result.reason}"), result.reason))
        elif isinstance(result, OddWidth):
            odd.append(str(result))
        elif isinstance(result, NoIndices):
            colours.append(str(result))
        elif isinstance(result, list):
            texts = [f"{form.title} {w} x {h}" for form, (w, h) in zip(forms, result, strict=True)]
            sizes.append(f"{printable(name)} ({', '.join(texts)} px)")
        elif not (sizes or odd or colours):
            rows, row_facts, lost, labels = result
            order = sorted(range(len(rows)), key=lambda side: rows[side].ndim, reverse=True)  # images say what differs
            stacks = stacks or [np.empty((len(names), *row.shape), row.dtype) for row in rows]
            for side in order:
                if rows[side].shape != stacks[side].shape[1:]:
                    title = f"{root}: {forms[side].title} "
                    shapes = rows[side].shape, stacks[side].shape[1:]
                    raise MixedShapes(mixed_text(f"{title}{printable(name)}", shapes[0], printable(kept[0]), shapes[1]))
                stacks[side][len(kept)] = rows[side]
            kept.append(name)
            facts.append(row_facts)
            colour += lost
            present += [] if labels is None else [labels]
    refuse_rows(root, len(names), sizes, odd, colours)
    left_out.sort()
    if left_out and (bad == "fail" or not kept):
        amount = "" if kept else "no row is left: "
        raise DataError(f"{root}: {amount}{left_out_text(left_out, most=None if kept else _NAMED)}")
    by_side = tuple(tuple(row[side] for row in facts) for side in range(len(forms)))
    return Rows(
        arrays=tuple(stack if len(kept) == len(stack) else stack[: len(kept)].copy() for stack in stacks),
        names=tuple(kept),
        facts=by_side,
        left_out=tuple(left_out),
        present=tuple(present),
        notes=_notes(forms, by_side, colour.tolist(), len(kept), left_out),
    )


def refuse_rows(root: str, total: int, sizes: list[str], odd: list[str], colours: list[str]) -> None:
    """Raises the error of rows that can be read but do not fit."""
    for texts, problem, remedy in (
        (sizes, "have sides of different sizes", "a crop would show another part of each; resize one of them"),
        (odd, "have an odd width, so that they are no two images side by side", "remove them, or join them anew"),
        (
            colours,
            "are no label maps",
            "save label maps as PNG of a palette or grey, one number a pixel: the class, not its colour",
        ),
    ):
        if texts:
            more = f"; and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
            raise DataError(f"{root}: {len(texts)} of {total} {problem}: {'; '.join(texts[:_NAMED])}{more}. {remedy}")


def _notes(
    forms: Sequence[Form],
    facts: Sequence[Sequence[Facts]],
    colour: Sequence[int],
    rows: int,
    left_out: Sequence[tuple[str, str]],
) -> tuple[str, ...]:
    notes = []
    if left_out:
        notes.append(f"{len(left_out)} of {len(left_out) + rows} left out: {left_out_text(left_out)}")
    for form, of_side, lost in zip(forms, facts, colour, strict=True):
        if form.maps:
            continue
        notes += [f"{form.title}: {text}" for text in sentences(of_side, form.shape, lost)]
    return tuple(notes)
