"""TFDS data sets prepared as array_record, read by position and without TensorFlow; only the images fetched are decoded."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from gan_jax.data.convert import Shape, fit_pixels, has_colour, to_channels
from gan_jax.data.decode import Facts, decode_file, read_header
from gan_jax.data.files import sentences
from gan_jax.data.images import DataError, Images, choose_classes
from gan_jax.extras import require

_SAMPLED_RECORDS = 64  # how many records a fingerprint reads
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_CHUNK = 256  # images decoded at a time
_AS_IT_IS = Shape()


class TfdsSource:
    """A split of a TFDS data set, or chosen positions of one: `len`, `fetch`, `take`, `of_classes`, `fingerprint`."""

    def __init__(self, data: Any, name: str, indices: np.ndarray | None = None):
        self._data = data  # tfds' data source
        self._indices = indices  # positions in it; None = all
        self.name = name
        features = dict(data.dataset_info.features)
        if "image" not in features:
            raise DataError(f"{name} has no feature 'image'; it has {', '.join(features)}")
        self.channels: int | None = features["image"].shape[-1]
        label = features.get("label")
        names = getattr(label, "names", None)
        self.has_labels = hasattr(label, "num_classes")
        names = () if names is None else tuple(names)
        numbered = names == tuple(str(i) for i in range(len(names)))  # what TFDS calls classes without names
        self.class_names: tuple[str, ...] | None = None if numbered else names

    def __len__(self) -> int:
        return len(self._data) if self._indices is None else len(self._indices)

    def fetch(self, indices: Sequence[int], shape: Shape = _AS_IT_IS) -> tuple[np.ndarray, np.ndarray]:
        """Decodes the images at these positions: `[n, H, W, C]` uint8; labels `[n]` int32 (0 where there are none)."""
        images, labels, _, _ = self._fetch(indices, shape)
        return images, labels

    def _fetch(self, indices: Sequence[int], shape: Shape) -> tuple[np.ndarray, np.ndarray, list[Facts], int]:
        """The images and labels of `fetch`, the facts of their files, and how many images lost colour."""
        out: list[np.ndarray] = []
        labels = np.zeros(len(indices), np.int32)
        facts: list[Facts] = []
        colour = 0
        for i, example in enumerate(self._examples(indices)):
            where = f"{self.name}, record {self._position(indices[i])}"
            pixels, file_facts = decode_file(example["image"], where)
            pixels = pixels[None]
            if self.channels:
                pixels = to_channels(pixels, self.channels)
            facts.append(file_facts)
            colour += shape.channels == 1 and has_colour(pixels)
            out.append(fit_pixels(pixels, shape)[0])
            if out[i].shape != out[0].shape:
                raise DataError(f"{where} has shape {out[i].shape}, another image {out[0].shape}; give a resolution")
            labels[i] = example["label"] if self.has_labels else 0
        return np.stack(out), labels, facts, colour

    def load(self, shape: Shape = _AS_IT_IS) -> Images:
        """Decodes everything into memory."""
        chunks = [self._fetch(range(i, min(i + _CHUNK, len(self))), shape) for i in range(0, len(self), _CHUNK)]
        sizes = {images.shape[1:] for images, *_ in chunks}
        if len(sizes) > 1:
            raise DataError(f"{self.name} holds images of several shapes ({sorted(sizes)}); give a resolution")
        labels = np.concatenate([labels for _, labels, *_ in chunks]) if self.has_labels else None
        notes = sentences([f for _, _, facts, _ in chunks for f in facts], shape, sum(colour for *_, colour in chunks))
        return Images(np.concatenate([images for images, *_ in chunks]), labels, self.name, self.class_names, notes)

    def headers(self) -> list[Facts]:
        """The header facts of every image; no image is decoded."""
        parts = [range(i, min(i + _CHUNK, len(self))) for i in range(0, len(self), _CHUNK)]
        return [
            read_header(io.BytesIO(example["image"]), f"{self.name}, record {self._position(i)}")
            for part in parts
            for i, example in zip(part, self._examples(part), strict=True)
        ]

    def take(self, indices: Any) -> TfdsSource:
        """The source with only these positions."""
        positions = np.asarray([self._position(int(i)) for i in indices], np.int64)
        return TfdsSource(self._data, self.name, positions)

    def of_classes(self, classes: Iterable[int | str]) -> TfdsSource:
        """The source with only these classes; reads all labels, no image."""
        numbers = choose_classes(classes, self.labels, self.class_names, self.name)
        return self.take(np.flatnonzero(np.isin(self.labels, numbers)))  # type: ignore[arg-type]

    @cached_property
    def labels(self) -> np.ndarray | None:
        """All labels `[N]` int32, without decoding an image."""
        if not self.has_labels:
            return None
        parts = [range(i, min(i + _CHUNK, len(self))) for i in range(0, len(self), _CHUNK)]
        return np.array([e["label"] for part in parts for e in self._examples(part)], np.int32)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of the number of records, of the positions chosen, and of up to 64 evenly spaced records.

        Only a sample, since a large set is never read completely: another set is detected, one changed record may not be.
        """
        return records_fingerprint(self._data, self.name, self._indices)

    def _position(self, index: int) -> int:
        return int(index) if self._indices is None else int(self._indices[index])

    def _records(self, indices: Sequence[int]) -> Sequence[bytes]:
        return raw_records(self._data, [self._position(i) for i in indices], self.name)

    def _examples(self, indices: Sequence[int]) -> Iterable[dict[str, Any]]:
        """Examples, each image as the bytes of its file."""
        for i, record in zip(indices, self._records(indices), strict=True):
            yield deserialised(self._data, record, ("image",), f"{self.name}, record {self._position(i)}")


def raw_records(data: Any, positions: Sequence[int], name: str) -> Sequence[bytes]:
    """The records at these positions, as they are stored."""
    try:
        return data.data_source.__getitems__(list(positions))
    except Exception as error:  # array_record raises bare RuntimeError, ValueError, IndexError
        raise DataError(f"{name}: records cannot be read: {error}") from error


def deserialised(data: Any, record: bytes, images: Sequence[str], where: str) -> dict[str, Any]:
    """One example; these features of images are the bytes of their files."""
    tfds = require("tensorflow_datasets", extra="data")
    skip = {name: tfds.decode.SkipDecoding() for name in images}
    try:
        return data.dataset_info.features.deserialize_example_np(record, decoders=skip)
    except Exception as error:
        raise DataError(f"{where} cannot be read: {error}") from error


def records_fingerprint(data: Any, name: str, indices: np.ndarray | None = None) -> str:
    """sha256 (hex) of the number of records, of the positions chosen, and of up to 64 evenly spaced records of them."""
    count = len(data) if indices is None else len(indices)
    positions = np.unique(np.linspace(0, count - 1, min(_SAMPLED_RECORDS, count)).astype(np.int64))
    chosen = b"all" if indices is None else indices.astype("<i8").tobytes()
    total = hashlib.sha256(f"{len(data)} ".encode() + chosen)
    for record in raw_records(data, (positions if indices is None else indices[positions]).tolist(), name):
        total.update(hashlib.sha256(record).digest())
    return total.hexdigest()


def open_tfds(rest: str, data_dir: str | os.PathLike[str] | None = None) -> TfdsSource:
    """Opens `NAME[:SPLIT]` or `PATH[:SPLIT]` (the folder of a prepared version); the default split is train.

    Names are looked up in `data_dir`, else where TFDS keeps its data: TFDS_DATA_DIR, or ~/tensorflow_datasets.
    """
    return TfdsSource(*open_data(rest, data_dir))


def open_data(rest: str, data_dir: str | os.PathLike[str] | None = None) -> tuple[Any, str]:
    """The data source that TFDS itself makes of a spec, and the spec as a name."""
    tfds = require("tensorflow_datasets", extra="data")
    require("importlib_resources", extra="data")  # needed by TFDS, which does not declare it
    require("array_record", extra="data")
    name, split = _name_and_split(rest)
    path = os.path.expanduser(name)
    # A name may hold a slash, too (`mnist/config`): what lies there decides.
    is_path = os.path.isabs(path) or name.startswith((".", "~")) or ("/" in name and _is_prepared(path))
    constants = require("tensorflow_datasets.core.constants", extra="data")
    # Asked again each time, since TFDS itself reads the variable only when it is imported.
    place = path if is_path else os.fspath(data_dir or constants.get_default_data_dir())
    try:
        # A set of a name that TFDS knows, in a version that it does not know, would be looked for in TFDS's own version.
        version_folder = _newest_version(path if is_path else os.path.join(place, name))
        if is_path or version_folder:
            data = tfds.builder_from_directory(version_folder or path).as_data_source(split=split)
        else:
            data = tfds.data_source(name, split=split, data_dir=place, download=False)
        count = len(data)
    except Exception as error:  # TFDS raises whatever its file lacked: assertions, KeyErrors, its own
        raise DataError(
            f"tfds:{rest} cannot be opened in {place}: {_first_line(error)}. It must be prepared as "
            f"array_record first, by `gan-jax data prepare`, or by TFDS with file_format='array_record'"
        ) from error
    if not count:
        raise DataError(f"tfds:{rest} holds no examples")
    return data, f"tfds:{rest}"


def _name_and_split(rest: str) -> tuple[str, str]:
    """(name, split) of a spec. A split begins with a letter, a version (`mnist:3.0.1`) with a digit."""
    match = re.fullmatch(r"(.+?)(?::([A-Za-z_]\w*(?:\[[^\]]*\])?))?", rest)
    return (match[1], match[2] or "train") if match else (rest, "train")


def split_of(rest: str) -> str:
    """The split that a spec `NAME[:SPLIT]` names."""
    return _name_and_split(rest)[1]


def _is_prepared(folder: str) -> bool:
    """Whether a folder is that of a prepared version, or holds one."""
    return os.path.isfile(os.path.join(folder, "dataset_info.json")) or _newest_version(folder) is not None


def _newest_version(folder: str) -> str | None:
    """The folder of the newest version prepared in a data set's folder; None where there is none."""
    versions = [entry for entry in os.listdir(folder) if _VERSION.fullmatch(entry)] if os.path.isdir(folder) else []
    prepared = [v for v in versions if os.path.exists(os.path.join(folder, v, "dataset_info.json"))]
    newest = max(prepared, key=lambda v: tuple(map(int, v.split("."))), default=None)
    return os.path.join(folder, newest) if newest else None


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].rstrip('.') if lines else ''}"
