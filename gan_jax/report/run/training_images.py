"""Generated images beside the training images nearest to them, from a run folder and the data that it names."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np

from gan_jax.config import Config
from gan_jax.report.neighbours import Gallery, make_gallery
from gan_jax.report.run.folder import RunFolder
from gan_jax.report.run.pictures import Drawn, smaller
from gan_jax.report.run.reading import attempt, bytes_text

Space = Literal["auto", "pixels", "features"]
MOST_BYTES = 2e9  # of training images as float64 pixels: more are no few-shot set, and the search would take minutes
SHOWN_PX = 128


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """The result of a search for nearest training images."""

    gallery: Gallery | None  # None = no search; the sentences say why
    sentences: tuple[str, ...]  # about the data


def neighbours(run: RunFolder, drawn: Drawn | None, space: Space) -> Neighbours:
    """Searches the training images for those nearest to generated ones.

    Args:
      run: its training images are read again.
      drawn: generated images.
      space: of the distances; auto = the features that the run was evaluated with, where available, else pixels.
    """
    if drawn is None:
        return Neighbours(None, ("There are no generated images to look for.",))
    if run.config is None:
        return Neighbours(None, ("The configuration cannot be read, and with it which images the run was trained on.",))
    sentences: list[str] = []
    dataset = attempt(lambda: _load(run), f"the training images ({run.option('data.source')})", sentences)
    if dataset is None:
        return Neighbours(
            None, (*sentences, "So nothing can be said of copies; put the data back and make the page again.")
        )
    from gan_jax.data import Images

    train = dataset.train
    if not isinstance(train, Images):
        return Neighbours(
            None, (f"The {len(train):,} training images are read as they are needed: too many to search.",)
        )
    if (size := 8.0 * train.images.size) > MOST_BYTES:
        many = f"The {len(train):,} training images take {bytes_text(size)} to search: too many for a set that is copied whole."
        return Neighbours(None, (many,))
    if changed := _changed(run, train.fingerprint):
        sentences.append(changed)
    held_out = dataset.reference.images if _is_held_out(run.config) else None
    gallery = None
    if space != "pixels" and run.config.evaluate.features is not None:
        search = lambda: _of_features(run, drawn, train.images, held_out)
        gallery = attempt(search, f"the features of {run.config.evaluate.features}", sentences)
    elif space == "features":
        sentences.append("The run was evaluated by no feature network, so distances are of pixels.")
    if gallery is None:
        gallery = attempt(lambda: _of_pixels(drawn, train.images, held_out), "the nearest training images", sentences)
    return Neighbours(gallery, tuple(sentences))


def _load(run: RunFolder) -> Any:
    """The data set of the configuration; where that is not there, the one that data.json names."""
    from gan_jax.transfer.dataset import load_dataset

    assert run.config is not None
    try:
        return load_dataset(run.config)
    except (ValueError, OSError):
        spec = run.data.get("spec")
        if not isinstance(spec, str) or spec == run.config.data.source:
            raise
    return load_dataset(dataclasses.replace(run.config, data=dataclasses.replace(run.config.data, source=spec)))


def _changed(run: RunFolder, fingerprint: str) -> str | None:
    before = run.data.get("train")
    if not isinstance(before, str) or fingerprint.startswith(before) or before.startswith(fingerprint):
        return None
    return (
        f"The training images have changed since the run: their fingerprint was {before[:16]} and is {fingerprint[:16]} now. "
        "Neighbours are of the images as they are now."
    )


def _is_held_out(config: Config) -> bool:
    return config.data.shots is not None or config.data.reference is not None


def _of_features(run: RunFolder, drawn: Drawn, train: np.ndarray, held_out: np.ndarray | None) -> Gallery:
    from gan_jax.metrics import extract, load_features

    assert run.config is not None and run.config.evaluate.features is not None
    net = load_features(run.config.evaluate.features)

    def vectors(images: np.ndarray | None) -> np.ndarray | None:
        return None if images is None else extract(net, images).values

    return _gallery(drawn, train, vectors(drawn.images), vectors(train), vectors(held_out), f"{net.name} features")


def _of_pixels(drawn: Drawn, train: np.ndarray, held_out: np.ndarray | None) -> Gallery:
    from gan_jax.metrics import as_vectors

    rest = None if held_out is None else as_vectors(held_out[:2000])
    return _gallery(drawn, train, as_vectors(drawn.images), as_vectors(train), rest, "pixels from 0 to 1")


def _gallery(drawn: Drawn, images: np.ndarray, fake: Any, train: Any, held_out: Any, space: str) -> Gallery:
    from gan_jax.metrics import MetricError, memorisation, nearest

    try:
        memory = memorisation(fake, train, held_out)
        indices, distances, usual, closer = memory.indices, memory.distances, memory.held_out_distances, memory.closer
    except MetricError:  # nothing to compare distances with
        (indices, distances), usual, closer = nearest(fake, train), None, None
    if held_out is None:
        usual = closer = (
            None  # of training images among themselves: the gallery speaks of images that were not trained on
        )
    gallery = make_gallery(
        drawn.images, images, indices, distances, reference_distances=usual, closer=closer, space=space
    )
    small = {"generated": smaller(gallery.generated, SHOWN_PX), "nearest": smaller(gallery.nearest, SHOWN_PX)}
    return dataclasses.replace(gallery, **small)
