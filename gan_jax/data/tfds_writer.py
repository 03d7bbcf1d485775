"""Writes images, or pairs of an input and an image, as a TFDS data set (array_record), without TensorFlow."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gan_jax.data.convert import Fit
from gan_jax.data.decode import encode_png
from gan_jax.data.files import Bad
from gan_jax.data.images import DataError, Images
from gan_jax.data.pairs import Pairs, is_pair_spec
from gan_jax.data.sources import load
from gan_jax.data.tfds_pair_writer import examples_of, features_of, load_pair_splits, write_pairs_file
from gan_jax.extras import require

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_MOST_CLASSES = 1 << 20
_SPLIT = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def prepare(
    sources: Any,
    out_dir: str | os.PathLike[str],
    name: str,
    *,
    version: str = "1.0.0",
    resolution: int | None = None,
    channels: int | None = None,
    fit: Fit = "crop",
    bad: Bad = "skip",
    crop: bool = False,
    description: str = "",
    overwrite: bool = False,
    note: Callable[[str], Any] = lambda text: None,
) -> Path:
    """Writes a TFDS data set that `tfds.data_source(name, data_dir=out_dir)` reads back; images as PNG, without loss.

    Args:
      sources: a spec, or anything else that `load` takes, as the split "train"; or a mapping from splits to them. Specs of
        pairs (`pair_specs`) and `Pairs` make a set of pairs.
      out_dir: where TFDS data sets are kept; the set goes to `out_dir/name/version`.
      name: of the data set: small letters, digits and underscores.
      version: as 1.0.0.
      resolution: height and width to resize to, px; None keeps the sources'.
      channels: 1, 3 or 4 to convert to; None keeps the sources'. Of pairs those of the images.
      fit: crop, pad or stretch images that are not square, where a resolution is given.
      bad: skip files that cannot be read, or fail with all their names.
      crop: make images square by `fit` where no resolution is given, too.
      description: a sentence about the set, kept in its info.
      overwrite: replace a set of the same name and version.
      note: is called with a sentence for each thing that was lost or left out.

    Returns:
      the folder of the data set, which `tfds:FOLDER` reads, too.

    Raises:
      DataError: a source cannot be read, splits do not fit together, or the set is there already.
    """
    if not _NAME.fullmatch(name):
        raise DataError(f"data set name {name!r} must be small letters, digits and underscores, a letter first")
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise DataError(f"version {version!r} must be three numbers, as 1.0.0")
    folder = Path(out_dir).expanduser() / name / version
    if folder.exists() and not overwrite:
        raise DataError(f"{folder} is there already; choose another name or version, or overwrite it")
    tfds = require("tensorflow_datasets", extra="data")
    require("importlib_resources", extra="data")  # needed by TFDS, which does not declare it
    named = dict(sources) if isinstance(sources, Mapping) else {"train": sources}
    paired = are_pairs(named)
    read = load_pair_splits if paired else _load_splits
    splits: dict[str, Any] = read(named, resolution=resolution, channels=channels, fit=fit, bad=bad, crop=crop)
    for split, images in splits.items():
        for text in images.notes:
            note(text if len(splits) == 1 else f"{split}: {text}")
    features = features_of(tfds, splits) if paired else _features(tfds, splits)
    builder_class = _make_builder(
        tfds, name, version, splits, features, description, examples_of if paired else _examples
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Written to a temporary folder and then moved: an interruption leaves no half set, and keeps the old one.
    with tempfile.TemporaryDirectory(prefix=".prepare-", dir=folder.parent) as unfinished, _quiet(tfds):
        builder_class(data_dir=unfinished).download_and_prepare(file_format="array_record")
        if paired:
            write_pairs_file(splits, Path(unfinished) / name / version)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(Path(unfinished) / name / version, folder)
    return folder


def are_pairs(sources: Mapping[str, Any]) -> bool:
    """Whether the splits of a set hold pairs, rather than images.

    Raises:
      DataError: there is none, some hold pairs and others images, or a name that is not one of a split.
    """
    if not sources:
        raise DataError("no split to prepare")
    for split in sources:
        if not _SPLIT.fullmatch(split):
            raise DataError(f"split name {split!r} must be letters, digits and underscores, beginning with a letter")
    kinds = {split: is_pair_spec(source) for split, source in sources.items()}
    if len(set(kinds.values())) > 1:
        (first, _), *_ = kinds.items()
        other = next(split for split, kind in kinds.items() if kind != kinds[first])
        pairs, images = (first, other) if kinds[first] else (other, first)
        raise DataError(f"split {pairs} holds pairs, but split {images} images; prepare them as two sets")
    return next(iter(kinds.values()))


def _load_splits(sources: Mapping[str, Any], **options: Any) -> dict[str, Images]:
    """Loads every split and checks that all have one shape and the same classes."""
    splits = {split: load(source, **options) for split, source in sources.items()}
    (first_split, first), *remaining = splits.items()
    for split, images in remaining:
        for what, a, b in (
            ("image shape", first.images.shape[1:], images.images.shape[1:]),
            ("labels", first.labels is not None, images.labels is not None),
            ("class names", first.class_names, images.class_names),
        ):
            if a != b:
                raise DataError(f"splits {first_split} and {split} differ in {what}: {a} and {b}")
    return splits


def _features(tfds: Any, splits: Mapping[str, Images]) -> dict[str, Any]:
    """The TFDS features of the splits of a set of images."""
    first = next(iter(splits.values()))
    features: dict[str, Any] = {"image": tfds.features.Image(shape=first.images.shape[1:], encoding_format="png")}
    if first.labels is not None:
        top = max(int(images.labels.max()) for images in splits.values() if images.labels is not None)
        if first.class_names is None and top >= _MOST_CLASSES:
            raise DataError(f"label {top} would make a set of {top + 1:,} classes; number them from 0")
        kind = {"names": list(first.class_names)} if first.class_names else {"num_classes": top + 1}
        features["label"] = tfds.features.ClassLabel(**kind)
    return features


def _examples(images: Images) -> Iterator[tuple[int, dict[str, Any]]]:
    for i, pixels in enumerate(images.images):
        example: dict[str, Any] = {"image": io.BytesIO(encode_png(pixels))}  # an array would call TensorFlow
        if images.labels is not None:
            example["label"] = int(images.labels[i])
        yield i, example


def _make_builder(
    tfds: Any, name: str, version: str, splits: Mapping[str, Images | Pairs], features: Any, description: str,
    examples: Callable[[Any], Iterator[tuple[int, dict[str, Any]]]],
) -> Any:  # fmt: skip
    """A TFDS builder class over images or pairs in memory, outside TFDS's registry."""

    def _info(self: Any) -> Any:
        sources = ", ".join(
            f"{split} from {images.name} ({images.fingerprint[:16]})" for split, images in splits.items()
        )
        return tfds.core.DatasetInfo(  # not dataset_info_from_configs, which needs a package folder around this module
            builder=self,
            description=description or f"Prepared by gan_jax: {sources}.",
            features=tfds.features.FeaturesDict(features),
            supervised_keys=next(
                ((a, b) for a, b in (("image", "label"), ("input", "image")) if {a, b} <= set(features)), None
            ),
            disable_shuffling=True,  # keeps the order of the source, so that indices mean the same
        )

    members = {
        "VERSION": tfds.core.Version(version),
        "name": name,
        "__module__": __name__,
        "_info": _info,
        "_split_generators": lambda self, dl_manager: {split: examples(images) for split, images in splits.items()},
        "_generate_examples": lambda self: iter(()),
    }
    make = type(tfds.core.GeneratorBasedBuilder)
    return make("PreparedBuilder", (tfds.core.GeneratorBasedBuilder,), members, skip_registration=True)


@contextlib.contextmanager
def _quiet(tfds: Any) -> Iterator[None]:
    """Silences TFDS, which announces a download and draws progress bars although nothing is downloaded here."""
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()
