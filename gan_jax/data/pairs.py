"""`load_pairs`: inputs and images in memory, for networks that translate, from a spec (`pair_specs`); seeded parts."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

import numpy as np

from gan_jax.data.convert import Fit, Shape
from gan_jax.data.decode import Facts
from gan_jax.data.files import Bad
from gan_jax.data.images import DataError
from gan_jax.data.label_maps import count_labels, number_maps
from gan_jax.data.pair_files import (
    Form,
    Read,
    Rows,
    Side,
    joined_halves,
    match,
    open_side,
    read_rows,
    side_of_array,
    texts,
)
from gan_jax.data.pair_specs import PAIR_KINDS, PairSpec, split_pair_spec
from gan_jax.data.sources import existing, few_shot, read_arrays
from gan_jax.data.tfds_pairs import TfdsPairs, open_tfds_pairs
from gan_jax.random_streams import path_number
from gan_jax.trees import digest

PairKind = Literal["paired", "unpaired", "layout"]

# ----------------------------------------------------------------------------------------------------------------------
# Pairs in memory.


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
    """Inputs and images; in pairs and layouts the i-th input belongs to the i-th image.

    Attributes:
      inputs: `[N, H, W, Cin]` uint8; label maps of a layout `[N, H, W]` uint8 or int32, where `num_labels` is don't care.
      images: `[M, H, W, C]` uint8; M = N but for unpaired sets.
      kind: paired, unpaired or layout.
      instances: `[N, H, W]` int32, the number of the thing that a pixel belongs to; of layouts, where known.
      num_labels: classes of a layout, without don't care.
      names: of the inputs, and of the images of pairs.
      image_names: of the images of unpaired sets.
      class_names: by label.
      name: the source, for people.
      notes: a sentence for each thing that reading lost or left out.
      left_out: files that could not be read: (path, reason).
    """

    inputs: np.ndarray
    images: np.ndarray
    kind: PairKind = "paired"
    instances: np.ndarray | None = None
    num_labels: int | None = None
    names: tuple[str, ...] | None = None
    image_names: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None
    name: str = "arrays"
    notes: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in get_args(PairKind):
            raise DataError(f"{self.name}: kind is {self.kind!r}; use one of {', '.join(get_args(PairKind))}")
        layout = self.kind == "layout"
        for title, array, axes in (("inputs", self.inputs, 3 if layout else 4), ("images", self.images, 4)):
            labels = layout and title == "inputs"
            if not isinstance(array, np.ndarray) or array.ndim != axes or array.dtype not in _DTYPES[labels]:
                form = "integers [N, H, W] of a layout" if labels else "uint8 [N, H, W, C]"
                raise DataError(f"{self.name}: {title} must be {form}, not {_form_of(array)}")
            if not len(array):
                raise DataError(f"{self.name} holds no {title}")
        if self.images.shape[3] not in (1, 3, 4):
            raise DataError(f"{self.name}: images have {self.images.shape[3]} channels; known are 1, 3, 4")
        if self.kind != "unpaired":
            self._check_alike("inputs", self.inputs)
        if self.instances is not None:
            if not layout or self.instances.ndim != 3 or self.instances.dtype != np.int32:
                raise DataError(
                    f"{self.name}: instances must be int32 [N, H, W] of a layout, not {_form_of(self.instances)}"
                )
            self._check_alike("instances", self.instances)
        if layout:
            if self.num_labels is None:
                raise DataError(f"{self.name}: a layout needs num_labels, the number of its classes")
            if self.inputs.min() < 0 or self.inputs.max() > self.num_labels:
                worst = int(self.inputs.min() if self.inputs.min() < 0 else self.inputs.max())
                raise DataError(f"{self.name}: label {worst} is outside 0 .. {self.num_labels} (don't care)")

    def _check_alike(self, title: str, array: np.ndarray) -> None:
        """Checks that an array has the number and size of the images."""
        if len(array) != len(self.images):
            hint = '; inputs that belong to no image are kind="unpaired"' if title == "inputs" else ""
            raise DataError(f"{self.name}: {len(array)} {title}, but {len(self.images)} images{hint}")
        if array.shape[1:3] != self.images.shape[1:3]:
            sizes = ["{} x {} px".format(*x.shape[1:3]) for x in (array, self.images)]
            raise DataError(f"{self.name}: {title} are {sizes[0]}, but images {sizes[1]}; resize one of them")

    def __len__(self) -> int:
        """The number of inputs."""
        return len(self.inputs)

    @property
    def image_count(self) -> int:
        """The number of images, that of inputs but for unpaired sets."""
        return len(self.images)

    @property
    def dont_care(self) -> bool:
        """Whether a pixel of a layout has no class."""
        return self.kind == "layout" and bool((self.inputs == self.num_labels).any())

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of the kind, shapes and values of all arrays, without names and notes."""
        instances = "none" if self.instances is None else digest(self.instances)
        text = f"{self.kind} {self.num_labels} {digest(self.inputs)} {digest(self.images)} {instances}"
        return hashlib.sha256(text.encode()).hexdigest()

    def take(self, indices: Any, images: Any = None) -> Pairs:
        """The rows at these positions, in this order.

        Args:
          indices: of the inputs, and of the images of pairs and layouts.
          images: of the images of an unpaired set; None = all of them.
        """
        if images is not None and self.kind != "unpaired":
            raise DataError(
                f"{self.name}: an image belongs to each input; only unpaired sets have positions for each side"
            )
        rows = np.asarray(indices)
        columns = (
            rows if self.kind != "unpaired" else np.arange(len(self.images)) if images is None else np.asarray(images)
        )
        return dataclasses.replace(
            self,
            inputs=self.inputs[rows],
            images=self.images[columns],
            instances=None if self.instances is None else self.instances[rows],
            names=None if self.names is None else tuple(self.names[i] for i in rows.tolist()),
            image_names=None if self.image_names is None else tuple(self.image_names[i] for i in columns.tolist()),
        )


_DTYPES = {False: (np.uint8,), True: (np.uint8, np.int32)}


def _form_of(value: Any) -> str:
    return f"{value.dtype.name}{list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__


# ----------------------------------------------------------------------------------------------------------------------
# Seeded parts: the images to train on, and those that an evaluation compares with.


class PairSplit(NamedTuple):
    """The two parts of a set of pairs."""

    train: Pairs
    rest: Pairs | None  # None where all are trained on


def split_pairs(pairs: Pairs, *, shots: int | None = None, reference: int | None = None, seed: int = 0) -> PairSplit:
    """Chooses rows to train on by a seed, and the rest; of unpaired sets on each side by itself.

    Args:
      pairs: all rows.
      shots: number to train on; None = all, or all but the reference.
      reference: number held out before the shots are chosen, the same for every seed; None = all but the shots.
      seed: of the shots.

    Raises:
      DataError: a side has fewer rows than that.
    """
    columns = pairs.image_count if pairs.kind == "unpaired" else None
    train, rest = _choose(len(pairs), shots, reference, seed, f"{pairs.name}, inputs")
    if columns is None:
        return PairSplit(pairs.take(train), None if rest is None else pairs.take(rest))
    # Other seeds, so that sides of equal length do not keep the rows that once were pairs.
    seed = path_number(f"images {seed}")
    train_images, rest_images = _choose(columns, shots, reference, seed, f"{pairs.name}, images", _IMAGES_SEED)
    held_out = None if rest is None or rest_images is None else pairs.take(rest, rest_images)
    return PairSplit(pairs.take(train, train_images), held_out)


_IMAGES_SEED = path_number("images")  # of the reference on the side of the images of an unpaired set


def _choose(
    count: int, shots: int | None, reference: int | None, seed: int, where: str, fixed: int = 0
) -> tuple[np.ndarray, np.ndarray | None]:
    """Positions to train on and the rest, ascending; as `transfer.dataset` chooses images."""
    if (shots or 1) + (reference or 0) > count:
        raise DataError(
            f"{where}: {shots or 1} to train on and {reference or 0} held out are more than the {count} there are"
        )
    if reference is not None:
        split = few_shot(count, reference, seed=fixed)
        pool = split.rest
        return (pool if shots is None else pool[few_shot(len(pool), shots, seed=seed).chosen]), split.chosen
    if shots is None or shots == count:
        return np.arange(count), None
    split = few_shot(count, shots, seed=seed)
    return split.chosen, split.rest


# ----------------------------------------------------------------------------------------------------------------------
# `load_pairs`.


def is_pair_spec(spec: Any) -> bool:
    """Whether a source holds pairs: by its kind, or by the arrays and features of an npz or TFDS set."""
    if not isinstance(spec, str):
        return isinstance(spec, (Pairs, TfdsPairs))
    kind, _, rest = spec.partition(":")
    if kind == "npz" and Path(rest).expanduser().is_file():
        keys: list[str] = []
        with contextlib.suppress(DataError):
            read_arrays(Path(rest).expanduser(), lambda names: keys.extend(names) or {})
        return "inputs" in keys and "images" in keys
    if kind == "tfds":
        try:
            return "@" in rest or open_tfds_pairs(rest).named
        except (DataError, ImportError):
            return False
    return kind in PAIR_KINDS


_KINDS: dict[str, PairKind] = {"pairs": "paired", "joined": "paired", "unpaired": "unpaired", "layouts": "layout"}


def kind_of_pairs(spec: str) -> PairKind | None:
    """The kind of the pairs that a spec names, where npz and TFDS sets are opened; None where it names none.

    Raises:
      DataError: arrays that cannot be read.
    """
    kind, _, rest = spec.partition(":")
    if kind in _KINDS or not is_pair_spec(spec):
        return _KINDS.get(kind)
    if kind == "npz":
        arrays = read_arrays(Path(rest).expanduser(), lambda names: {"inputs": "inputs"})
        return "layout" if arrays["inputs"].ndim == 3 else "paired"
    source = open_tfds_pairs(rest)
    if source.record is not None:
        return cast(PairKind, source.record.kind)
    return "layout" if source.layout else "paired"


def layout_parts(spec: str) -> tuple[int | None, bool]:
    """The number of classes that a set of layouts names, None where it names none, and whether it has instance maps.

    Raises:
      DataError: folders or sets that cannot be opened.
    """
    if spec.startswith("tfds:"):
        source = open_tfds_pairs(spec.removeprefix("tfds:"))
        return (None if source.record is None else source.record.num_labels), len(source.features) > 2
    if not spec.startswith("layouts:"):
        return None, False
    with contextlib.ExitStack() as stack:
        sides = open_sides(split_pair_spec(spec), stack).sides
        names = sides[0].class_names
        return (None if names is None else len(names)), len(sides) > 2


@dataclasses.dataclass(frozen=True)
class PairFacts:
    """What the files of pairs were before they were brought to a shape: the facts of each side's, in order."""

    inputs: tuple[Facts, ...]
    images: tuple[Facts, ...]


def load_pairs(
    spec: Any,
    *,
    resolution: int | None = None,
    in_channels: int | None = None,
    channels: int | None = None,
    fit: Fit = "crop",
    bad: Bad = "skip",
    load_size: int | None = None,
    num_labels: int | None = None,
) -> Pairs:
    """Loads pairs into memory, both sides brought to one size by the same crop or padding.

    Args:
      spec: a spec (see `pair_specs`), a `Pairs`, or two arrays: inputs and images.
      resolution: height and width of a network's images, px; None keeps the source's.
      in_channels: of the inputs, 1, 3 or 4 to convert to; None keeps the source's. Label maps have none.
      channels: the same for the images.
      fit: how images that are not square come to a size: `crop`, `pad` or `stretch`.
      bad: `skip` leaves out pairs of which a file cannot be read, with a note; `fail` refuses them.
      load_size: the size that is loaded where crops of `resolution` are drawn from it in training; None = `resolution`.
      num_labels: classes of a network, which label maps must not exceed; arrays of two axes more than rows are label maps.

    Raises:
      DataError: names, sizes or counts that do not match, labels beyond the classes; names the first ones.
    """
    return read_pairs(
        spec, resolution=resolution, in_channels=in_channels, channels=channels, fit=fit, bad=bad, load_size=load_size,
        num_labels=num_labels,
    )[0]  # fmt: skip


def read_pairs(
    spec: Any,
    *,
    resolution: int | None = None,
    in_channels: int | None = None,
    channels: int | None = None,
    fit: Fit = "crop",
    bad: Bad = "skip",
    load_size: int | None = None,
    num_labels: int | None = None,
) -> tuple[Pairs, PairFacts]:
    """The pairs of `load_pairs`, and the facts of their files."""
    if bad not in get_args(Bad):
        raise DataError(f"data.bad is {bad!r}; use skip or fail")
    if load_size is not None and resolution is not None and load_size < resolution:
        raise DataError(f"data.load_size {load_size} is smaller than the {resolution} px that are cut out of it")
    size = resolution if load_size is None else load_size
    request = Request(Shape(size, in_channels, fit), Shape(size, channels, fit), bad, num_labels)
    if isinstance(spec, Pairs):
        return _of_pairs(spec, request)
    if isinstance(spec, TfdsPairs):
        return _of_tfds(spec, request)
    if isinstance(spec, (tuple, list)) and len(spec) == 2 and np.ndim(spec[0]) in (3, 4):
        return _of_arrays({"inputs": np.asarray(spec[0]), "images": np.asarray(spec[1])}, "arrays", request)
    if not isinstance(spec, str):
        raise DataError(f"a source of pairs is a text, Pairs, or two arrays (inputs, images), not {_form_of(spec)}")
    parts = split_pair_spec(spec)
    name = parts.text()
    if parts.kind == "tfds":
        return _of_tfds(open_tfds_pairs(parts.paths[0]), request)
    if parts.kind == "npz":
        return _of_npz(existing(parts.paths[0], "file"), name, request)
    with contextlib.ExitStack() as stack:
        source = open_sides(parts, stack)
        if source.kind == "unpaired":
            return _assemble_unpaired(source.sides, request, name)
        return _assemble(source.kind, source.names, source.read, source.sides, request, name)


_TITLES = ("inputs", "images", "instances")


class PairSource(NamedTuple):
    """The open sides of a spec.

    Attributes:
      kind: of the pairs.
      name: the spec.
      names: of the rows; of the inputs of unpaired sets.
      sides: inputs, images and, where there, instances; the same twice where one picture holds both.
      read: all sides of a row; of unpaired sets the sides are read by themselves.
    """

    kind: PairKind
    name: str
    names: Sequence[str]
    sides: Sequence[Side]
    read: Callable[[str], list[Read]]


def open_sides(parts: PairSpec, stack: contextlib.ExitStack) -> PairSource:
    """Opens the folders, zips and npz files of a spec, and matches their rows.

    Args:
      parts: of a spec `pairs`, `joined`, `unpaired` or `layouts`.
      stack: closes them.
    """
    name = parts.text()
    if parts.kind == "joined":
        side = stack.enter_context(open_side(parts.paths[0]))
        read = joined_halves(side, swapped=parts.option == "BtoA")
        return PairSource("paired", name, side.names, (side, side), read)
    layout = parts.kind == "layouts"
    sides = [
        stack.enter_context(open_side(path, maps=layout and i != 1, labels=layout and i == 0))
        for i, path in enumerate(parts.paths)
    ]
    read = lambda row: [side.load(row) for side in sides]
    if parts.kind == "unpaired":
        return PairSource("unpaired", name, sides[0].names, sides, read)
    return PairSource("layout" if layout else "paired", name, match(sides, _TITLES[: len(sides)], name), sides, read)


@dataclasses.dataclass(frozen=True)
class Request:
    """The options of a reader."""

    inputs: Shape
    images: Shape
    bad: Bad = "skip"
    num_labels: int | None = None

    def forms(self, layout: bool, sides: int = 2) -> list[Form]:
        """Of the inputs, the images and, where there, the instances."""
        forms = [Form("inputs", self.inputs, maps=layout), Form("images", self.images)]
        return [*forms, Form("instances", self.images, maps=True)][:sides]


def _assemble(
    kind: PairKind, names: Sequence[str], read: Callable[[str], list[Read]], sides: Sequence[Side], request: Request, name: str
) -> tuple[Pairs, PairFacts]:  # fmt: skip
    """Reads rows of all sides and makes pairs of them."""
    rows = read_rows(names, read, request.forms(kind == "layout", len(sides)), name, request.bad)
    inputs, images, *instances = rows.arrays
    class_names, count = sides[0].class_names, None
    if kind == "layout":
        count = count_labels(rows.present, rows.names, class_names, request.num_labels, name)
        inputs = number_maps(inputs, count)
    pairs = Pairs(
        inputs, images, kind, instances[0] if instances else None, count,
        rows.names if all(side.named for side in sides) else None, None, class_names, name,
        (*rows.notes, *_label_notes(kind, class_names, count, request)), rows.left_out,
    )  # fmt: skip
    return pairs, PairFacts(*rows.facts[:2])


def _label_notes(kind: str, class_names: Sequence[str] | None, count: int | None, request: Request) -> tuple[str, ...]:
    if kind != "layout" or class_names is not None or request.num_labels is not None:
        return ()
    return (f"no classes.txt names the classes: {count}, one more than the largest label",)


def _assemble_unpaired(sides: Sequence[Side], request: Request, name: str) -> tuple[Pairs, PairFacts]:
    rows: list[Rows] = []
    for side, form in zip(sides, request.forms(False), strict=True):
        load = side.load
        rows.append(read_rows(side.names, lambda row, load=load: [load(row)], [form], side.root, request.bad))
    names = [of_side.names if side.named else None for of_side, side in zip(rows, sides, strict=True)]
    pairs = Pairs(
        rows[0].arrays[0], rows[1].arrays[0], "unpaired", None, None, names[0], names[1], None, name,
        (*rows[0].notes, *rows[1].notes), (*rows[0].left_out, *rows[1].left_out),
    )  # fmt: skip
    return pairs, PairFacts(rows[0].facts[0], rows[1].facts[0])


def _of_npz(path: Path, name: str, request: Request) -> tuple[Pairs, PairFacts]:
    def choose(keys: list[str]) -> dict[str, str]:
        if absent := [key for key in ("inputs", "images") if key not in keys]:
            raise DataError(
                f"{path} has no array {absent[0]!r}; pairs are arrays inputs and images, and it holds "
                f"{', '.join(map(repr, keys)) or 'nothing'}"
            )
        return {key: key for key in ("inputs", "images", "instances", "names", "class_names") if key in keys}

    return _of_arrays(read_arrays(path, choose), name, request)


def _of_arrays(arrays: dict[str, np.ndarray], name: str, request: Request) -> tuple[Pairs, PairFacts]:
    """Pairs of arrays `inputs`, `images` and, where there, `instances`, `names` and `class_names`."""
    layout = arrays["inputs"].ndim == 3
    titles = [title for title in _TITLES if title in arrays]
    if "instances" in arrays and not layout:
        raise DataError(f"{name} has instances, but no label maps: inputs must be [N, H, W], one number a pixel")
    names = texts(arrays.get("names"))
    sides = [
        side_of_array(arrays[title], names, f"{name}, {title}", maps=layout and title != "images") for title in titles
    ]
    sides[0] = dataclasses.replace(sides[0], class_names=texts(arrays.get("class_names")))
    kind: PairKind = "layout" if layout else "paired"
    rows = match(sides, titles, name)
    return _assemble(kind, rows, lambda row: [side.load(row) for side in sides], sides, request, name)


def _of_pairs(pairs: Pairs, request: Request) -> tuple[Pairs, PairFacts]:
    """The same pairs in another shape; those that have it stay as they are."""
    arrays = {"inputs": pairs.inputs, "images": pairs.images} | (
        {} if pairs.instances is None else {"instances": pairs.instances}
    )
    layout = pairs.kind == "layout"
    if layout and request.num_labels not in (None, pairs.num_labels):
        raise DataError(f"{pairs.name} has {pairs.num_labels} classes, but the network {request.num_labels}")
    forms: dict[str, Form] = dict(zip(_TITLES, request.forms(layout, 3), strict=True))
    sides = {
        title: side_of_array(array, None, f"{pairs.name}, {title}", maps=forms[title].maps)
        for title, array in arrays.items()
    }
    rows = {
        title: read_rows(side.names, lambda row, side=side: [side.load(row)], [forms[title]], side.root)
        for title, side in sides.items()
    }
    fitted = {title: of_side.arrays[0] for title, of_side in rows.items()}
    if pairs.num_labels is not None:
        labels = np.where(fitted["inputs"] < 0, pairs.num_labels, fitted["inputs"])
        fitted["inputs"] = labels.astype(np.uint8 if labels.max() <= 255 else np.int32)
    same = all(np.array_equal(fitted[title], array) for title, array in arrays.items())
    notes = (*pairs.notes, *(note for of_side in rows.values() for note in of_side.notes))
    facts = PairFacts(rows["inputs"].facts[0], rows["images"].facts[0])
    return (pairs if same else dataclasses.replace(pairs, **fitted, notes=notes)), facts


def _of_tfds(source: TfdsPairs, request: Request) -> tuple[Pairs, PairFacts]:
    """All pairs of a TFDS set."""
    rows = source_of_tfds(source, request)
    if rows.kind == "unpaired":
        return _assemble_unpaired(rows.sides, request, rows.name)
    return _assemble(rows.kind, rows.names, rows.read, rows.sides, labels_of_tfds(source, request), rows.name)


def labels_of_tfds(source: TfdsPairs, request: Request) -> Request:
    """The request with the number of classes that the set was made with, where the network asks for no other."""
    if source.record is None or request.num_labels is not None:
        return request
    return dataclasses.replace(request, num_labels=source.record.num_labels)


def source_of_tfds(source: TfdsPairs, request: Request) -> PairSource:
    """A TFDS set as sides; label maps where the network has labels, or the feature is one of numbers."""
    layout = source.layout or request.num_labels is not None
    record = source.record

    def side(feature: str, count: int, names: tuple[str, ...] | None) -> Side:
        rows = {name: i for i, name in enumerate(names or map(str, range(count)))}
        read = lambda row: source.read(row, layout, (feature,))[0]
        class_names = None if record is None or feature != source.input else record.class_names
        return Side(source.name, rows, read, class_names=class_names, named=names is not None)

    if record is None:
        sides = [side(feature, len(source), None) for feature in source.features]
    else:
        of_images = record.image_names if record.kind == "unpaired" else record.names
        counts = {source.image: (record.images, of_images)}
        sides = [side(f, *counts.get(f, (record.inputs, record.names))) for f in source.features]
    names = list(sides[0].rows)
    if record is not None and record.kind == "unpaired":
        return PairSource("unpaired", source.name, names, sides, lambda row: [part.load(row) for part in sides])
    read = lambda name: source.read(sides[0].rows[name], layout)
    return PairSource("layout" if layout else "paired", source.name, names, sides, read)
