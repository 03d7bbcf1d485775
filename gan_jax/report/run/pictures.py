"""Images of a run's generator, and the training images nearest to them."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gan_jax.config import Config
from gan_jax.report.grids import Gallery, make_gallery
from gan_jax.report.html import PictureRow
from gan_jax.report.run.folder import CHECKPOINTS, RunFolder, attempt, bytes_text
from gan_jax.transfer.record import GRID_IMAGES

# ----------------------------------------------------------------------------------------------------------------------
# Images of a run's generator: its sample grids cut into images, and newly drawn ones where no grid shows the newest state.

LARGEST_SCALE = 64  # by which the images of a grid file may be enlarged
PADDING = 2  # px between the images of a sample grid, as `make_grid` lays them out
SHOWN, MOMENTS = 10, 8  # images in a row of the page, and rows
SIDE_BY_SIDE = (3, 4, 2)  # images in a cell: with a target; two ways; input and translation alone
STRIP_PX, GRID_PX = 128, 1600  # images of a row, and the whole grid, are made smaller than this


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Images of one moment of a run."""

    images: np.ndarray  # [N, H, W, C] uint8
    at: int  # real images shown to D before
    origin: str  # `weights`, `sample grid`


def newest(run: RunFolder, n: int, lost: list[str]) -> Drawn | None:
    """Draws n images with the newest state: the weights, else the newest checkpoint that can be read.

    None for networks that translate, whose inputs are not in the folder: their pictures are those of the sample grids.
    """
    if translates(run):
        return None
    if run.weights and run.weights_images is not None and run.weights_images >= max([0, *run.checkpoints]):
        if (images := attempt(lambda: _from_weights(run, n), "the weights", lost)) is not None:
            return Drawn(images, run.weights_images, "weights")
    for at in reversed(run.checkpoints if run.config is not None else []):
        draw = lambda at=at: _from_checkpoint(run, at, n)
        if (images := attempt(draw, f"checkpoint {at}", lost)) is not None:
            return Drawn(images, at, f"checkpoint of {at:,} images")
    return None


def moments(run: RunFolder, drawn: Drawn | None, lost: list[str]) -> list[Drawn]:
    """The images of up to `MOMENTS` grids, evenly spread over the run; the drawn ones last where they are newer."""
    out = []
    for at in spread(sorted(run.grids), MOMENTS):
        images = attempt(lambda at=at: _grid_images(run, at), f"samples/{run.grids[at].name}", lost)
        if images is not None:
            out.append(Drawn(images, at, "sample grid"))
    if drawn is not None and (not out or drawn.at > out[-1].at):
        out.append(Drawn(drawn.images[:GRID_IMAGES], drawn.at, drawn.origin))
    return out


def strip_rows(pictures: Sequence[Drawn]) -> list[PictureRow]:
    """A row of the page for each moment; of wide pictures it has fewer."""

    def strip(images: np.ndarray) -> np.ndarray:
        parts = max(1, images.shape[2] // images.shape[1])  # side by side in a picture
        return smaller(images[: max(1, SHOWN // parts)], STRIP_PX * parts)

    return [PictureRow(f"{drawn.at:,}", strip(drawn.images), "real images shown") for drawn in pictures]


def cut(path: Path, size: tuple[int, int]) -> np.ndarray:
    """The images of a grid file, uint8 `[N, H, W, C]`, without its empty cells.

    Args:
      path: of a PNG of `make_grid`.
      size: height and width of its images.

    Raises:
      ValueError: it is not made of such images.
    """
    from PIL import Image

    with Image.open(path, formats=["PNG"]) as file:
        grid = np.asarray(file if file.mode in ("L", "RGB", "RGBA") else file.convert("RGB"))
    grid = grid[..., None] if grid.ndim == 2 else grid
    for scale in range(1, LARGEST_SCALE + 1):
        if (cells := _cells(grid, size[0] * scale, size[1] * scale)) is not None:
            enlarged, cells = cells, cells[:, ::scale, ::scale]
            if not np.array_equal(cells.repeat(scale, 1).repeat(scale, 2), enlarged):
                continue  # of another size, which divides the picture by chance
            full = [i for i, cell in enumerate(cells) if (cell != 255).any()]
            return cells[: full[-1] + 1] if full else cells
    raise ValueError(f"{grid.shape[1]} x {grid.shape[0]} px is no grid of images of {size[1]} x {size[0]}")


def _cells(grid: np.ndarray, side: int, across: int) -> np.ndarray | None:
    """The cells of a grid whose images are so high and wide; None where it is not made of such."""
    height, width = side + PADDING, across + PADDING
    if min(grid.shape[:2]) <= PADDING or any((n - PADDING) % step for n, step in zip(grid.shape, (height, width))):
        return None
    inner = grid[PADDING:, PADDING:]
    cells = inner.reshape(inner.shape[0] // height, height, inner.shape[1] // width, width, -1).swapaxes(1, 2)
    if (cells[:, :, side:] != 255).any() or (cells[:, :, :, across:] != 255).any():  # what lies between images is white
        return None
    return cells[:, :, :side, :across].reshape(-1, side, across, grid.shape[-1])


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most `most` of the items, evenly spread, the first and the last among them."""
    return [items[i] for i in sorted(set(np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)))]


def smaller(images: np.ndarray, px: int) -> np.ndarray:
    """Images `[N, H, W, C]` averaged down to at most `px` pixels a side; smaller ones stay as they are."""
    from PIL import Image

    _, height, width, channels = images.shape
    if max(height, width) <= px:
        return images
    scale = px / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    squeeze = lambda image: image[..., 0] if channels == 1 else image
    resized = [np.asarray(Image.fromarray(squeeze(image)).resize(size, Image.Resampling.BOX)) for image in images]
    return np.stack(resized).reshape(len(images), size[1], size[0], channels)


def columns_of(n: int) -> int:
    """Columns of a grid of n images, as square as `make_grid` makes it."""
    return math.ceil(math.sqrt(n))


def translates(run: RunFolder) -> bool:
    """Whether the run's generators make images from images."""
    return run.config is not None and run.config.net.translates


def _grid_images(run: RunFolder, at: int) -> np.ndarray:
    """The images of a sample grid; of networks that translate, input, translation and what belongs to it in one image."""
    side = run.option("net.resolution")
    if not isinstance(side, int):
        raise ValueError("the configuration does not say how large its images are")
    if not translates(run):
        return cut(run.grids[at], (side, side))
    for parts in SIDE_BY_SIDE:
        with contextlib.suppress(ValueError):
            return cut(run.grids[at], (side, parts * side))
    raise ValueError(f"it is no grid of inputs and translations of {side} px side by side")


def _from_weights(run: RunFolder, n: int) -> np.ndarray:
    from gan_jax.tasks.model import load

    model = load(run.path)
    return _draw(run, model.pair, model.variables["g_ema"], n)


def _from_checkpoint(run: RunFolder, at: int, n: int) -> np.ndarray:
    from gan_jax.nets import build
    from gan_jax.train.checkpoint import storage
    from gan_jax.transfer.methods import make_method
    from gan_jax.trees import unflatten

    assert run.config is not None
    path, pair = run.path / CHECKPOINTS / str(at), build(run.config.net)
    manifest = storage.read_manifest(path)
    leaves = storage.read_leaves(path, manifest, [leaf for leaf in manifest["leaves"] if leaf.startswith("g_ema/")])
    return _draw(run, make_method(run.config.transfer, pair).wrap(pair), unflatten(leaves)["g_ema"], n)


def _draw(run: RunFolder, pair: Any, g_ema: Any, n: int) -> np.ndarray:
    """The latents of the run's own grids, with batch statistics as it makes them."""
    import jax

    from gan_jax.random_streams import GRID_STATS_KEY
    from gan_jax.seeds import root_key
    from gan_jax.tasks.sample import STATS_BATCH, make_restatistics, make_sampler

    key = root_key(int(run.option("train.seed", 0)))
    batches = int(run.option("evaluate.stats_batches", 0))
    standing = make_restatistics(pair, STATS_BATCH)(g_ema, jax.random.fold_in(key, GRID_STATS_KEY), batches)
    images = np.asarray(make_sampler(pair)(standing, key, n))
    if not len(images):
        raise ValueError("no images were asked for")
    return images


# ----------------------------------------------------------------------------------------------------------------------
# Generated images beside the training images nearest to them, from a run folder and the data that it names.

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
    if translates(run):
        baseline = "what the target of the nearest training input would reach is among the messages of paired runs"
        return Neighbours(None, (f"Its images are translations of held-out inputs; {baseline}.",))
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
