"""`load`: a set of images in memory from a spec string or arrays; seeded few-shot subsets of it.

| spec | what is read |
|---|---|
| `embedded:NAME` | a set inside this package: `fashion-mnist` (test split), `emoji` (Noto, 64 px RGBA) |
| `tfds:NAME[:SPLIT]`, `tfds:PATH[:SPLIT]` | a prepared TFDS data set (array_record), by name or folder; default train |
| `idx:PATH[:SPLIT]` | a folder of idx files, .gz and .xz too; split train or test (default train) |
| `folder:PATH` | images in a folder; labels from `labels.csv`, `labels.json`, `dataset.json` or one subfolder a class |
| `zip:PATH` | the same inside a zip file |
| `npz:PATH` | arrays `images` [N, H, W(, C)] uint8 and, where there, `labels` [N] |
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.resources
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, get_args

import numpy as np

from gan_jax.data.convert import Fit, Shape, fit_pixels
from gan_jax.data.decode import check_unpacked, decode
from gan_jax.data.files import Bad, array_sentences, open_archive, open_folder, open_zip, read_files
from gan_jax.data.idx import SPLITS, read_idx
from gan_jax.data.images import DataError, Images, from_arrays, gap_note
from gan_jax.data.tfds_source import TfdsSource, open_tfds
from gan_jax.seeds import SeedError, check_seed
from gan_jax.trees import did_you_mean

# ----------------------------------------------------------------------------------------------------------------------
# Seeded few-shot subsets, the same on every machine, with hashes to report.


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """The two parts of a set: the images to train on, and the rest, which an evaluation may compare with."""

    chosen: np.ndarray  # [shots] int64, ascending
    rest: np.ndarray  # [n - shots] int64, ascending
    chosen_hash: str  # 16 hex digits, of the indices
    rest_hash: str


def few_shot(n: int, shots: int, seed: int = 0) -> Split:
    """Chooses `shots` of `n` positions by a seed.

    A smaller number of shots with the same seed is a subset of a larger one.

    Raises:
      DataError: more shots than images, or fewer than one.
    """
    if shots < 1:
        raise DataError(f"{shots} shots: choose at least 1")
    if shots > n:
        raise DataError(f"{shots} shots, but the set has only {n} images")
    try:
        check_seed(seed, "data.subset_seed")
    except SeedError as error:
        raise DataError(str(error)) from error
    # PCG64's raw stream is part of numpy's compatibility promise; `Generator.permutation` is not.
    order = np.argsort(np.random.PCG64(seed).random_raw(n), kind="stable")
    chosen, rest = np.sort(order[:shots]), np.sort(order[shots:])
    return Split(chosen, rest, index_hash(chosen), index_hash(rest))


def index_hash(indices: np.ndarray) -> str:
    """16 hex digits that name a list of positions."""
    return hashlib.sha256(np.asarray(indices).astype("<i8").tobytes()).hexdigest()[:16]


# ----------------------------------------------------------------------------------------------------------------------
# `load`, and a reader for each kind of source.


def load(
    spec: Any,
    *,
    resolution: int | None = None,
    channels: int | None = None,
    classes: Iterable[int | str] | None = None,
    fit: Fit = "crop",
    bad: Bad = "skip",
    crop: bool = False,
) -> Images:
    """Loads a set into memory: images `[N, resolution, resolution, channels]` uint8 and labels.

    The result's `notes` have a sentence for everything that is lost; its `left_out` names files that cannot be read.

    Args:
      spec: a spec string (see the module), an `Images`, an array `[N, H, W(, C)]` uint8, or a tuple (images, labels).
      resolution: height and width to resize to, px, anti-aliased; None keeps the source's.
      channels: 1, 3 or 4 to convert to; None keeps the source's.
      classes: class names or labels to keep; None keeps all.
      fit: how images that are not square come to a resolution: `crop` cuts the largest centred square out, `pad` pads
        with black (transparent, where there is alpha), `stretch` stretches.
      bad: `skip` leaves files out that cannot be read, `fail` refuses them, all their names at once.
      crop: make images square by `fit` where no resolution is given, too.

    Raises:
      DataError: naming the spec, the file or the class that does not fit.
    """
    request = Request(Shape(resolution, channels, fit, crop), None if classes is None else tuple(classes), bad)
    if bad not in get_args(Bad):
        raise DataError(f"data.bad is {bad!r}; use skip or fail")
    if isinstance(spec, Images):
        images = spec
    elif isinstance(spec, str):
        kind, rest = split_spec(spec)
        if kind in FILE_READERS:
            return FILE_READERS[kind](rest, request)
        images = READERS[kind](rest, request.shape)
    elif isinstance(spec, (tuple, list)) and len(spec) == 2 and np.ndim(spec[0]) in (3, 4):
        images = from_arrays(*spec)
    else:
        images = from_arrays(spec)
    if request.classes is not None:  # before resizing: fewer images to resize
        images = images.of_classes(request.classes)
    return fit_images(images, request.shape)


@dataclasses.dataclass(frozen=True)
class Request:
    """The options of a reader of files."""

    shape: Shape
    classes: tuple[int | str, ...] | None = None
    bad: Bad = "skip"


def _meant(path: Path) -> str | None:
    """The kind of spec that a path without a kind stands for; None where there is no such folder or file."""
    if path.is_dir():
        return "folder"
    return path.suffix.lower()[1:] if path.is_file() and path.suffix.lower() in (".zip", ".npz") else None


def split_spec(spec: str) -> tuple[str, str]:
    """Splits a spec: `folder:/data/cats` into ("folder", "/data/cats").

    Raises:
      DataError: an unknown kind; the message lists the known ones.
    """
    kind, colon, rest = spec.partition(":")
    if kind in ONLY_PAIRS and colon:
        raise DataError(
            f"{spec!r} holds an input with each image, for networks that translate (data.load_pairs, a task of pairs); images "
            f"alone are one of {', '.join(f'{name}:...' for name in KINDS)}"
        )
    if kind not in KINDS or not colon:
        if (meant := _meant(Path(spec))) is not None:
            raise DataError(f"a data source begins with its kind; use {meant}:{spec}")
        known = ", ".join(f"{name}:..." for name in KINDS)
        raise DataError(f"unknown data source {spec!r}{did_you_mean(kind, KINDS)}; a source is one of {known}")
    if not rest:
        raise DataError(f"{spec!r} names nothing after the colon")
    return kind, rest


def fit_images(images: Images, shape: Shape) -> Images:
    """Brings a set to a shape; a note is added for everything that this loses."""
    pixels = fit_pixels(images.images, shape)
    if pixels is images.images:
        return images
    notes = (*images.notes, *array_sentences(images.images, shape))
    return dataclasses.replace(images, images=np.ascontiguousarray(pixels), notes=notes)


def open_source(spec: Any) -> Images | TfdsSource:
    """Opens the source of a pipeline: a TFDS data set is read as needed, every other one is loaded into memory."""
    if isinstance(spec, str) and split_spec(spec)[0] == "tfds":
        return open_tfds(split_spec(spec)[1])
    return spec if isinstance(spec, TfdsSource) else load(spec)


# -- one reader per kind --------------------------------------------------------------------------


def read_embedded(name: str, shape: Shape) -> Images:
    """Reads a set that is part of this package."""
    if name not in EMBEDDED:
        raise DataError(f"no embedded data set {name!r}{did_you_mean(name, EMBEDDED)}; there are {', '.join(EMBEDDED)}")
    return EMBEDDED[name](importlib.resources.files("gan_jax.data") / "embedded" / name)


def read_tfds(rest: str, shape: Shape) -> Images:
    """Reads all of a prepared TFDS data set."""
    return open_tfds(rest).load(shape)


def read_folder(rest: str, request: Request) -> Images:
    """Reads the images below a folder."""
    path = existing(rest, "folder")
    with open_folder(path) as files:
        return read_files(files, f"folder:{path}", request.shape, classes=request.classes, bad=request.bad)


def read_zip(rest: str, request: Request) -> Images:
    """Reads the images in a zip file."""
    path = existing(rest, "file")
    with open_zip(path) as files:
        return read_files(files, f"zip:{path}", request.shape, classes=request.classes, bad=request.bad)


def read_idx_folder(rest: str, shape: Shape) -> Images:
    """Reads one split of a folder of idx files, `PATH` or `PATH:SPLIT`."""
    path, colon, split = rest.rpartition(":")
    if not colon or split not in SPLITS:
        path, split = rest, "train"
    return read_idx(existing(path, "folder"), split)


def read_npz(rest: str, shape: Shape) -> Images:
    """Reads the arrays `images` and, where there, `labels` of a file; a single array may have any name."""
    path = existing(rest, "file")

    def choose(keys: list[str]) -> dict[str, str]:
        key = "images" if "images" in keys else keys[0] if len(keys) == 1 else None
        if key is None:
            raise DataError(f"{path} has no array 'images'; it holds {', '.join(map(repr, keys)) or 'nothing'}")
        return {"images": key} | ({"labels": "labels"} if "labels" in keys and key != "labels" else {})

    arrays = read_arrays(path, choose)
    loaded = from_arrays(arrays["images"], arrays.get("labels"), name=f"npz:{path}")
    note = None if loaded.labels is None or not len(loaded) else gap_note(loaded.labels)
    return loaded if note is None else dataclasses.replace(loaded, notes=(*loaded.notes, note))


def read_arrays(path: Path, choose: Callable[[list[str]], dict[str, str]]) -> dict[str, np.ndarray]:
    """Reads arrays of an npz file, without pickle and within a limit of what it may unpack to.

    Args:
      path: of the file.
      choose: the names of its arrays -> the names that the arrays get here, each with its name in the file.

    Raises:
      DataError: the file is damaged or no npz; names it.
    """
    try:
        with path.open("rb") as stream:
            magic = stream.read(4)
        if magic[:2] != b"PK":
            raise DataError(f"{path} is not an npz archive; save it with numpy.savez(path, images=..., labels=...)")
        with open_archive(path, "npz") as archive:
            sizes = {entry.filename.removesuffix(".npy"): entry.file_size for entry in archive.infolist()}
        names = choose(list(sizes))
        check_unpacked(path, sum(sizes[name] for name in names.values()))
        with path.open("rb") as stream:  # opened here, since numpy leaves a damaged file open
            file: Any = np.load(stream, allow_pickle=False)
            return {name: file[key] for name, key in names.items()}
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{path} declares arrays that do not fit into memory") from error
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise DataError(
                f"{path} holds an array of Python objects, as numpy makes of images of several sizes; save one array "
                "of uint8 [N, H, W, C], or the images as files of a folder"
            ) from error
        raise DataError(f"{path} cannot be read as npz: {error}") from error
    except Exception as error:  # zip, zlib, header and size errors of numpy have no common base
        raise DataError(f"{path} cannot be read as npz: {error}") from error


def existing(path: str, what: str) -> Path:
    """A path that must exist as a "folder" or a "file"."""
    place = Path(path).expanduser()
    if what == "folder" and not place.is_dir():
        raise DataError(f"{place} is {'not a folder' if place.exists() else _absent(place)}; expected a folder")
    if what == "file" and not place.is_file():
        raise DataError(f"{place} is {'not a file' if place.exists() else _absent(place)}; expected a file")
    return place


def _absent(path: Path) -> str:
    """`absent`, with the most similar names in its folder."""
    try:
        siblings = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        siblings = []
    return f"absent{did_you_mean(path.name, siblings)}"


def _fashion(folder: Any) -> Images:
    return read_idx(folder, "test", name="embedded:fashion-mnist")


def _emoji(folder: Any) -> Images:
    """Cells of 64 x 64 px, 44 to a row, in the order of the index; labels are the categories in alphabetical order."""
    sheet = decode(folder.joinpath("sheet.png").read_bytes(), "embedded:emoji, sheet.png")
    rows = folder.joinpath("index.tsv").read_text(encoding="utf-8").splitlines()[1:]
    categories = [row.split("\t")[1] for row in rows]
    names = tuple(sorted(set(categories)))
    cells = sheet.reshape(-1, 64, 44, 64, 4).swapaxes(1, 2).reshape(-1, 64, 64, 4)[: len(rows)]
    labels = np.array([names.index(category) for category in categories], np.int32)
    return Images(np.ascontiguousarray(cells), labels, "embedded:emoji", names)


EMBEDDED: dict[str, Callable[[Any], Images]] = {"fashion-mnist": _fashion, "emoji": _emoji}
READERS: dict[str, Callable[[str, Shape], Images]] = {
    "embedded": read_embedded,
    "tfds": read_tfds,
    "idx": read_idx_folder,
    "npz": read_npz,
}
FILE_READERS: dict[str, Callable[[str, Request], Images]] = {"folder": read_folder, "zip": read_zip}
KINDS = ("embedded", "tfds", "idx", "folder", "zip", "npz")
ONLY_PAIRS = ("pairs", "joined", "unpaired", "layouts")  # sources of pairs: see `pair_specs`
