"""A survey of a data set in its original shapes. Of files, only the headers are read unless all is to be decoded."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from gan_jax.data.convert import Fit, Shape, of
from gan_jax.data.decode import BadImage, Facts
from gan_jax.data.files import (
    Bad,
    Files,
    chosen_images,
    depth_sentences,
    list_images,
    no_images,
    open_folder,
    open_zip,
    read_headers,
    refuse,
    sentences,
    suffixes,
)
from gan_jax.data.images import DataError, Images, describe
from gan_jax.data.sources import existing, load, split_spec
from gan_jax.data.tfds_source import TfdsSource, open_tfds

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


@dataclasses.dataclass(frozen=True)
class Survey:
    """The contents of a data set.

    Attributes:
      name: the spec.
      count: images that can be read.
      sizes: number of images of each (width, height), px, turned by the camera's orientation tag.
      modes: number of images of each mode, as Pillow names them.
      kinds: files of each kind (PNG, JPEG, ...); empty where there are no files.
      channels: 1 if all are grey, else 3; transparency is `alpha`.
      alpha: whether any may have transparency.
      resolution: the median of the shorter sides, px.
      depth: the most bits a channel, 8 or more.
      class_names: by label, where classes have names.
      classes: (label, name, images) of each class, in the order of labels; the label is its name where it has none.
      left_out: files that cannot be read: (name, reason).
      other_files: number of files that are not meant as images, by their ending.
      whole: whether every file was decoded, so that damage behind headers is known and `count` is final.
      notes: sentences about labels, depth and files left out.
    """

    name: str
    count: int
    sizes: Counter[tuple[int, int]]
    modes: Counter[str]
    kinds: Counter[str]
    channels: int
    alpha: bool
    resolution: int
    depth: int = 8
    class_names: tuple[str, ...] | None = None
    classes: tuple[tuple[int, str, int], ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    other_files: Counter[str] = dataclasses.field(default_factory=Counter)
    notes: tuple[str, ...] = ()
    whole: bool = True


WHOLE_PX = 500_000_000  # most pixels of files that are decoded only to be counted: some seconds


def survey(
    spec: Any, classes: Iterable[int | str] | None = None, bad: Bad = "skip", *, whole: bool | None = False
) -> Survey:
    """Surveys a data set.

    Args:
      spec: as for `load`.
      classes: names or labels of the classes to count; None for all.
      bad: "fail" refuses files that cannot be read, with all their names.
      whole: decode every file, so that damage behind a header is found, too; None decodes them if they have at most
        `WHOLE_PX` pixels together.

    Raises:
      DataError: nothing can be read, labels that do not fit the images, or a class that is not there.
    """
    if isinstance(spec, TfdsSource):
        return _of_records(spec, classes)
    kind, rest = split_spec(spec) if isinstance(spec, str) else ("", "")
    if kind == "tfds":
        return _of_records(open_tfds(rest), classes)
    if kind == "folder":
        path = existing(rest, "folder")
        with open_folder(path) as files:
            return _of_files(files, f"folder:{path}", classes, bad, whole)
    if kind == "zip":
        path = existing(rest, "file")
        with open_zip(path) as files:
            return _of_files(files, f"zip:{path}", classes, bad, whole)
    return _of_images(load(spec, classes=classes))


def _of_files(files: Files, name: str, classes: Iterable[int | str] | None, bad: Bad, whole: bool | None) -> Survey:
    listing = list_images(files)
    images, labels = chosen_images(listing, classes, name)
    headers = list(read_headers(files, images, whole=bool(whole)))
    if whole is None:
        whole = sum(fact.width * fact.height for _, fact in headers if not isinstance(fact, BadImage)) <= WHOLE_PX
        headers = list(read_headers(files, images, whole=True)) if whole else headers
    readable = [i for i, (_, fact) in enumerate(headers) if not isinstance(fact, BadImage)]
    facts = [fact for _, fact in headers if not isinstance(fact, BadImage)]
    left_out = [*listing.left_out, *((file, fact.reason) for file, fact in headers if isinstance(fact, BadImage))]
    left_out.sort()
    refuse(left_out, bad, files.root)
    if not facts:
        raise DataError(no_images(left_out, files.root))
    notes = (*listing.labels.notes, *sentences(facts, Shape()))
    return _make(
        name, facts, None if labels is None else labels[readable], listing.labels.class_names, tuple(left_out),
        suffixes(listing.other_files), notes, Counter(f.kind for f in facts), whole,
    )  # fmt: skip


def _of_records(source: TfdsSource, classes: Iterable[int | str] | None) -> Survey:
    source = source if classes is None else source.of_classes(classes)
    facts = source.headers()
    notes = tuple(depth_sentences(facts))
    return _make(source.name, facts, source.labels, source.class_names, (), Counter(), notes, Counter())


def _of_images(images: Images) -> Survey:
    height, width = images.resolution
    alpha = images.channels == 4 and bool((images.images[..., 3] < 255).any())
    fact = Facts(width, height, _MODES[images.channels], "", alpha=alpha)
    return _make(
        images.name, [fact] * len(images), images.labels, images.class_names, images.left_out, Counter(), images.notes,
        Counter(),
    )  # fmt: skip


def _make(
    name: str, facts: list[Facts], labels: np.ndarray | None, class_names: tuple[str, ...] | None,
    left_out: tuple[tuple[str, str], ...], other_files: Counter[str], notes: tuple[str, ...], kinds: Counter[str],
    whole: bool = True,
) -> Survey:  # fmt: skip
    classes = ()
    if labels is not None:
        numbers, counts = np.unique(labels, return_counts=True)
        title = lambda label: class_names[label] if class_names else str(label)  # noqa: E731
        classes = tuple((int(k), title(int(k)), int(n)) for k, n in zip(numbers, counts, strict=True))
    return Survey(
        name=name,
        count=len(facts),
        sizes=Counter((f.width, f.height) for f in facts),
        modes=Counter(f.mode for f in facts),
        kinds=kinds,
        channels=1 if all(f.grey for f in facts) else 3,
        alpha=any(f.alpha for f in facts),
        resolution=int(np.median([min(f.width, f.height) for f in facts])),
        depth=max(f.depth for f in facts),
        class_names=class_names,
        classes=classes,
        left_out=left_out,
        other_files=other_files,
        notes=notes,
        whole=whole,
    )


def inspect_source(
    spec: Any,
    *,
    resolution: int | None = None,
    channels: int | None = None,
    fit: Fit = "crop",
    bad: Bad = "skip",
    classes: Iterable[int | str] | None = None,
) -> tuple[dict[str, Any], Images | None]:
    """The contents of a data set and their use in training, as JSON values; and its images where they have one shape.

    Every file is decoded, so that every damaged one is named.

    Args:
      spec: as for `load`.
      resolution, channels, fit: of the images in training; None keeps what they have.
      bad: skip files that cannot be read, or fail with all their names.
      classes: names or labels of the classes; None for all.
    """
    classes = None if classes is None else tuple(classes)
    contents = survey(spec, classes, bad)
    images = None
    (width, height), _ = contents.sizes.most_common(1)[0]
    pixels = (resolution**2 if resolution else width * height) * contents.count * (channels or contents.channels)
    if (resolution or len(contents.sizes) == 1) and pixels <= _MOST_PIXEL_BYTES:
        try:
            images = load(spec, resolution=resolution, channels=channels, classes=classes, fit=fit, bad=bad)
        except DataError:
            if contents.left_out or len(contents.modes) < 2:
                raise  # else grey and colour, which are one set only at a number of channels
    if images is None or len(images) != contents.count:
        contents = survey(spec, classes, bad, whole=True)
    facts: dict[str, Any] = {
        "name": contents.name,
        "images": contents.count,
        "height": None,
        "width": None,
        "channels": contents.channels,
        "sizes": {f"{w} x {h}": n for (w, h), n in contents.sizes.most_common()},
        "modes": dict(contents.modes.most_common()),
        "kinds": dict(contents.kinds.most_common()),
        "bits": contents.depth,
        "transparency": contents.alpha,
        "classes": {name: n for _, name, n in contents.classes} or None,
        "labels": [{"label": label, "name": name, "images": n} for label, name, n in contents.classes],
        "left_out": [{"file": file, "reason": reason} for file, reason in contents.left_out],
        "other_files": dict(contents.other_files.most_common()),
        "notes": list(contents.notes),
        "use": usage(contents, Shape(resolution, channels, fit)),
        "mean": None,
        "fingerprint": None,
    }
    if images is not None:
        about = describe(images)
        facts |= {name: about[name] for name in ("height", "width", "channels", "mean", "fingerprint")}
        facts["notes"] = list(images.notes[bool(images.left_out) :])  # the first names files left out, as the facts do
    return facts, images


_MOST_PIXEL_BYTES = 1 << 32  # of the largest set that is read for its fingerprint


def usage(contents: Survey, shape: Shape) -> dict[str, str]:
    """How training and transfer use a set, a sentence each: channels, size, fit, classes.

    Args:
      contents: of the set.
      shape: of the images in training; where it has no resolution, a power of two is the example.
    """
    channels = shape.channels or contents.channels
    example = shape.resolution or min(256, max(16, 1 << (contents.resolution.bit_length() - 1)))
    colours = {1: "grey", 3: "colour", 4: "colour and transparency"}
    words = f"{channels} ({colours[channels]})"
    if shape.channels is None:
        words += ", unless --data.channels says otherwise"
    if contents.alpha and channels < 4:
        words += "; transparency is laid on white (--data.channels 4 keeps it)"
    if channels == 1 and contents.channels == 3:
        words += "; colour is lost (--data.channels 3 keeps it)"
    scales = [(shape_scale(example, shape.fit, size), n) for size, n in contents.sizes.items()]
    smaller, same = sum(n for s, n in scales if s < 1), sum(n for s, n in scales if s == 1)
    larger = contents.count - smaller - same
    size = (
        f"the network's, in transfer the source's (--net.resolution); at {example} px {smaller:,} are reduced, "
        f"{same:,} kept, {larger:,} enlarged"
    )
    oblong = sum(n for (w, h), n in contents.sizes.items() if w != h)
    how = {"crop": "cut to the centre", "pad": "padded with black", "stretch": "stretched"}
    fits = "all are square"
    if oblong:
        alternatives = " or ".join(name for name in how if name != shape.fit)
        fits = f"{of(oblong, contents.count)} not square: {how[shape.fit]} (--data.fit {alternatives} for another way)"
    classes = "no labels: an unconditional network"
    if contents.classes:
        n = len(contents.classes)
        classes = f"{n} classes, used by a network of --net.num-classes {n}; --data.classes chooses by name or label"
    return {"channels": words, "size": size, "fit": f"{shape.fit}; {fits}", "classes": classes}


def shape_scale(resolution: int, fit: Fit, size: tuple[int, int]) -> float:
    """The factor by which an image of (width, height) grows at a resolution."""
    return Shape(resolution, fit=fit).scale(size[1], size[0])
