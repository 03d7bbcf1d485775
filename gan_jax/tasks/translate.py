"""Images through a translator: any size, in tiles where an image is too large for memory.

**Sizes.** An image is padded at the right and at the bottom by reflection to the multiple that the network needs, and its
translation is cut back.

**Norms.** Instance norm, and batch norm with `statistics="batch"`, normalise by the statistics of the image itself. The
published pix2pix and CycleGAN use batch norm that way when they translate, one image at a time; so do we by default, each
image by itself in a batch of any length. `statistics="running"` uses the averages of training instead.

**Tiles.** With `tile`, an image that is larger is cut into overlapping tiles whose edges lie on the network's grid. Tiles that
normalised themselves would differ in tone at their seams. So the statistics of all tiles are put together, weighted such that
each pixel counts once, and every tile is normalised by these. They change what later norms see, so this is repeated until they
stay the same: after p rounds those of the first p norms are exact, and until then the others may be far off. So trained networks
take about as many rounds as they have norms, each as long as a translation.

If the overlap covers what an output pixel can see (`reach`),
the result is the untiled one up to rounding. Where it cannot, as in a deep U-Net, whose output pixels see the whole image,
neighbouring tiles are blended, and a warning (`InexactTiles`) says that the result differs from the untiled one.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config import NetConfig, kind_of
from gan_jax.data.convert import to_float, to_uint8
from gan_jax.nets import Pair, build, spade
from gan_jax.nets.build import Net
from gan_jax.seeds import root_key
from gan_jax.train.state import Variables
from gan_jax.trees import flatten

Statistics = Literal["batch", "running"]
Moments = tuple[jax.Array, jax.Array, jax.Array]  # total weight [], mean [C], sum of squares about it [C]
Translator = Callable[..., np.ndarray]

EPSILON = 1e-5  # of every norm of these networks
SETTLED = 1e-4  # of a deviation: a smaller change of statistics between two rounds ends them


class InexactTiles(UserWarning):
    """Tiles that overlap by less than an output pixel can see."""


class Geometry(NamedTuple):
    """The sizes that a generator takes.

    Attributes:
      multiple: that divides the height and the width, px.
      least: height and width, px.
      reach: distance of the furthest input pixel that an output pixel depends on, norms apart; None = unknown.
    """

    multiple: int
    least: int
    reach: int | None

    def fits(self, size: int) -> bool:
        """Whether the generator takes a height or width as it is."""
        return size >= self.least and size % self.multiple == 0


def geometry(config: NetConfig) -> Geometry:
    """The sizes that the generator of a configuration takes."""
    net: Any = config
    kind = kind_of(config)
    if kind == "unet":
        multiple = 2**net.depth
        return Geometry(multiple, multiple, 2 * multiple - 1)  # half on the way up
    if kind == "translator":
        filters = 9 if net.antialias else 0  # 1 and 2 px on the way down, 4 and 2 px on the way up
        return Geometry(4, 8, 15 + 8 * net.blocks + filters)
    multiple = 2 ** spade.doublings(net)
    return Geometry(multiple, multiple, None)


def default_statistics(config: NetConfig) -> Statistics:
    """How the published program of a family uses batch norm when it translates: SPADE's alone by running statistics."""
    return "batch" if kind_of(config) in ("unet", "translator") else "running"


def make_translator(
    pair: Pair,
    *,
    net: Net | None = None,
    statistics: Statistics | None = None,
    tile: int | None = None,
    batch: int = 8,
) -> Translator:
    """Makes `translate(g_vars, images, instances=None, seed=None) -> uint8 [N, H, W, C]`.

    `images` are uint8 `[N, H, W, in_channels]` of any size; for layouts, label maps `[N, H, W]` of integers, with `instances`
    of the same shape where the network reads their edges. With a `seed`, the dropout of training is on, as when pix2pix
    translates; without, equal images have equal translations.

    Args:
      pair: the networks of a family that translates.
      net: another generator of the same configuration; None = the pair's.
      statistics: of batch norm: "batch", those of each image, or "running", those of training; None = as published
        (`default_statistics`). Instance norm always has those of the image.
      tile: largest height and width, px, that goes through the network at once; None = any. Larger images are tiled.
      batch: most images, or tiles, in one call.

    Raises:
      ValueError: a network that makes images from latents, or options without meaning.
    """
    config: Any = pair.config
    if not config.translates:
        raise ValueError(
            f"{kind_of(config)} makes images from latents and translates none; draw images with sample(key, n)"
        )
    statistics = default_statistics(config) if statistics is None else statistics
    if statistics not in get_args(Statistics):
        raise ValueError(f"statistics is {statistics!r}; use {' or '.join(get_args(Statistics))}")
    if isinstance(batch, bool) or batch < 1:
        raise ValueError(f"batch is {batch}; use at least 1")
    sizes = geometry(config)
    if tile is not None:
        tile = tile // sizes.multiple * sizes.multiple
        if tile < max(4 * sizes.multiple, sizes.least):
            raise ValueError(
                f"tile is too small for this network, whose sizes are multiples of {sizes.multiple} px; use at least "
                f"{max(4 * sizes.multiple, sizes.least)} px"
            )
    return _Run(config, net or pair.g, sizes, statistics, tile, batch)


@functools.lru_cache(maxsize=8)
def translator_of(config: NetConfig, statistics: Statistics | None, tile: int | None, batch: int) -> Translator:
    """`make_translator` of a configuration's networks, kept: JAX compiles once for each size of images."""
    return make_translator(build(config), statistics=statistics, tile=tile, batch=batch)


def forward_of(config: NetConfig) -> Callable[[Variables, jax.Array], jax.Array]:
    """`(g_vars, x [N, H, W, in_channels] float in [-1, 1]) -> y`, the pure function that translates whole images."""
    run: Any = make_translator(build(config))
    return lambda g_vars, x: run.apply(g_vars, x, None, None, None)[0]


@dataclasses.dataclass(frozen=True, eq=False)
class _Run:
    """One generator, ready for images; see `make_translator`."""

    config: Any
    net: Net
    sizes: Geometry
    statistics: Statistics
    tile: int | None
    batch: int

    def __post_init__(self) -> None:
        whole = jax.jit(lambda variables, x, keys: self.apply(variables, x, keys, None, None)[0])
        given = jax.jit(self.apply)
        object.__setattr__(self, "whole", whole)
        object.__setattr__(self, "given", given)

    whole: Any = dataclasses.field(init=False, repr=False)
    given: Any = dataclasses.field(init=False, repr=False)

    def __call__(self, g_vars: Variables, images: Any, instances: Any = None, seed: int | None = None) -> np.ndarray:
        images = np.asarray(images)
        _check_images(self.config, images, instances)
        if seed is not None and not getattr(self.config, "dropout", False):
            raise ValueError("a seed is for dropout, which this network does not have; leave it out")
        if seed is not None and self.config.norm == "batch" and self.statistics == "running":
            raise ValueError("dropout needs statistics of each image; use statistics='batch', or leave the seed out")
        height, width = images.shape[1:3]
        padded, marks = (None if x is None else self._padded(np.asarray(x)) for x in (images, instances))
        assert padded is not None
        if self.tile is not None and max(padded.shape[1:3]) > self.tile:
            rows = [
                self._tiled(g_vars, padded[i : i + 1], None if marks is None else marks[i : i + 1], seed, i)
                for i in range(len(images))
            ]
        else:
            rows = [
                self._whole(
                    g_vars, padded[i : i + self.batch], None if marks is None else marks[i : i + self.batch], seed, i
                )
                for i in range(0, len(images), self.batch)
            ]
        return np.concatenate(rows)[:, :height, :width]

    def _padded(self, images: np.ndarray) -> np.ndarray:
        """The images with reflected rows and columns behind, to a size that the network takes."""
        sizes = [max(-(-n // self.sizes.multiple) * self.sizes.multiple, self.sizes.least) for n in images.shape[1:3]]
        for axis, size in zip((1, 2), sizes):
            pad = [(0, size - images.shape[axis]) if i == axis else (0, 0) for i in range(images.ndim)]
            images = np.pad(images, pad, mode="reflect" if images.shape[axis] > 1 else "edge")
        return images

    def _floats(self, images: np.ndarray, instances: np.ndarray | None) -> Any:
        """What the generator reads, float in [-1, 1]; of label maps, what its family makes of them."""
        if images.ndim == 4:
            return to_float(images)
        marks = None if instances is None else jnp.asarray(instances, jnp.int32)
        return spade.semantics(self.config, jnp.asarray(images, jnp.int32), marks)

    def _whole(
        self, g_vars: Variables, images: np.ndarray, instances: np.ndarray | None, seed: int | None, first: int
    ) -> np.ndarray:
        keys = _keys(seed, np.arange(first, first + len(images)))
        return np.asarray(to_uint8(self.whole(g_vars, self._floats(images, instances), keys)))

    # ------------------------------------------------------------------------------------------------------------------
    # The network with norms by given statistics.

    def norms(self, g_vars: Variables) -> list[str]:
        """Module paths of the norms whose statistics are those of the image."""
        if not hasattr(self.config, "norm") or kind_of(self.config) not in ("unet", "translator"):
            return []
        if self.config.norm == "none" or (self.config.norm == "batch" and self.statistics == "running"):
            return []
        spec = jax.ShapeDtypeStruct((1, self.sizes.least, self.sizes.least, self.config.in_channels), jnp.float32)
        paths = jax.eval_shape(lambda variables, x: self.net.activations(variables, x), g_vars, spec)
        return [path for path in paths if path.rpartition("/")[2].startswith("norm")]

    def apply(
        self,
        g_vars: Variables,
        x: jax.Array,
        keys: jax.Array | None,
        weights: jax.Array | None,
        moments: Mapping[str, tuple[jax.Array, jax.Array]] | None,
    ) -> tuple[jax.Array, dict[str, Moments]]:
        """Translates `[N, H, W, C]`; returns also the moments of each norm's input, over all examples.

        Args:
          g_vars: of the generator.
          x: float in [-1, 1].
          keys: `[N]` of dropout; None = no dropout.
          weights: `[N, H, W]` of the pixels in the moments; None = moments are not needed.
          moments: norm -> mean and variance `[C]` that it uses; None = those of each example.
        """
        inputs: dict[str, jax.Array] = {}
        out: dict[str, Moments] = {}
        parameters = flatten(g_vars["params"])

        def keep(path: str) -> Callable[[jax.Array], jax.Array]:
            return lambda y: inputs.setdefault(path, y)

        def normalise(path: str, source: str) -> Callable[[jax.Array], jax.Array]:
            def change(y: jax.Array) -> jax.Array:
                wide = inputs[source].astype(jnp.float32)
                if weights is not None:
                    out[path] = _moments(wide, weights)
                if moments is None:
                    mean = wide.mean((1, 2), keepdims=True)
                    variance = jnp.square(wide - mean).mean((1, 2), keepdims=True)
                else:
                    mean, variance = (value[None, None, None, :] for value in moments[path])
                wide = (wide - mean) * jax.lax.rsqrt(variance + EPSILON)
                for name, combine in (("scale", jnp.multiply), ("bias", jnp.add)):
                    if f"{path}/{name}" in parameters:
                        wide = combine(wide, parameters[f"{path}/{name}"][None, None, None, :])
                return wide.astype(y.dtype)

            return change

        changes: dict[str, Callable[[jax.Array], jax.Array]] = {}
        # Without moments, instance norm is the network's own.
        own = self.norms(g_vars)
        for path in own if self.config.norm == "batch" or weights is not None or moments else ():
            source = path.rpartition("/")[0] + "/" + path.rpartition("/")[2].replace("norm", "conv")
            changes |= {source: keep(source), path: normalise(path, source)}
        train = keys is not None or own and self.config.norm == "batch"
        return self.net.apply(g_vars, x, train=train, keys=keys, changes=changes)[0], out

    # ------------------------------------------------------------------------------------------------------------------
    # Tiles.

    def _tiled(
        self, g_vars: Variables, image: np.ndarray, instances: np.ndarray | None, seed: int | None, index: int
    ) -> np.ndarray:
        """Translates one padded image `[1, H, W, ..]` in tiles."""
        assert self.tile is not None
        grid = tiles(image.shape[1:3], self.tile, self.sizes)
        if not grid.exact:
            warnings.warn(
                f"tiles of {self.tile} px overlap by {grid.overlap} px, but pixels of this network's output depend on "
                f"{'unknown' if self.sizes.reach is None else self.sizes.reach} px around them: tiles are blended, and the "
                "result differs from that of the whole image; use larger tiles if memory allows",
                InexactTiles,
                stacklevel=3,
            )
        cut = lambda x, at: x[0, at[0] : at[0] + grid.height, at[1] : at[1] + grid.width]
        places = [grid.places[i : i + self.batch] for i in range(0, len(grid.places), self.batch)]

        def run(moments: Any, weighted: bool) -> Any:
            for part in places:
                full = [*part, *[part[-1]] * (min(self.batch, len(grid.places)) - len(part))]  # one program for all
                marks = None if instances is None else np.stack([cut(instances, at) for at in full])
                x = self._floats(np.stack([cut(image, at) for at in full]), marks)
                keys = _keys(seed, np.array([index] * len(full)), full)
                weights = None
                if weighted:
                    weights = np.stack([grid.weight(at) * (i < len(part)) for i, at in enumerate(full)])
                yield part, self.given(g_vars, x, keys, weights, moments)

        names, moments = self.norms(g_vars), None
        for _ in names:
            before, parts = moments, [extra for _, (_, extra) in run(moments, True)]
            moments = {name: _joined([part[name] for part in parts]) for name in names}
            if before is not None and _change(before, moments) < SETTLED:
                break
        out = np.zeros((*image.shape[1:3], self.config.channels), np.float32)
        for part, (y, _) in run(moments, False):
            for at, pixels in zip(part, np.asarray(y)):
                rows, columns = slice(at[0], at[0] + grid.height), slice(at[1], at[1] + grid.width)
                out[rows, columns] += pixels * grid.weight(at)[..., None]
        return to_uint8(out[None])


@dataclasses.dataclass(frozen=True, eq=False)
class Tiles:
    """Overlapping tiles of an image, all of one size.

    Attributes:
      height, width: of each tile, px.
      places: (top, left) of each.
      overlap: least overlap of neighbours, px.
      exact: whether the overlap covers what an output pixel can see.
      rows, columns: (start -> weight of each row), and of each column; they add up to 1 at each pixel.
    """

    height: int
    width: int
    places: list[tuple[int, int]]
    overlap: int
    exact: bool
    rows: dict[int, np.ndarray]
    columns: dict[int, np.ndarray]

    def weight(self, place: tuple[int, int]) -> np.ndarray:
        """The weight `[height, width]` float32 of a tile's pixels in the result."""
        return self.rows[place[0]][:, None] * self.columns[place[1]][None]


def tiles(size: tuple[int, ...], tile: int, sizes: Geometry) -> Tiles:
    """Lays tiles over an image.

    Where the overlap can hide what a tile does not see, pixels that depend on more than their tile weigh 0. Elsewhere tiles
    overlap by half, a fourth of the overlap weighs 0 at each edge, and the tiles fade into each other between.

    Args:
      size: height and width of the image, px, multiples of `sizes.multiple`.
      tile: largest height and width of a tile.
      sizes: of the generator.
    """
    multiple = sizes.multiple
    margin = None if sizes.reach is None else -(-sizes.reach // multiple) * multiple
    exact = margin is not None and tile - 2 * margin >= max(multiple, tile // 8)  # else tiles add next to nothing
    overlap = 2 * margin if exact and margin is not None else max(tile // 2 // multiple, 1) * multiple
    hidden = margin if exact and margin is not None else overlap // 4
    rows, columns = (_line(n, tile, overlap, hidden, multiple) for n in size[:2])
    height, width = (min(n, tile) for n in size[:2])
    places = [(top, left) for top in rows for left in columns]
    return Tiles(height, width, places, overlap, exact, rows, columns)


def _line(size: int, tile: int, overlap: int, hidden: int, multiple: int) -> dict[int, np.ndarray]:
    """Starts of tiles along one axis, and the weight `[tile]` float32 of each."""
    if size <= tile:
        return {0: np.ones(size, np.float32)}
    starts = sorted({min(start, size - tile) for start in range(0, size - overlap, tile - overlap)})
    weights, total = {}, np.zeros(size)
    ramp = overlap - 2 * hidden
    for start in starts:
        distance = np.arange(tile)
        weight = np.ones(tile)
        if start > 0:
            weight = np.minimum(weight, (distance - hidden + 1) / (ramp + 1))
        if start + tile < size:
            weight = np.minimum(weight, (distance[::-1] - hidden + 1) / (ramp + 1))
        weights[start] = weight.clip(0, 1)
        total[start : start + tile] += weights[start]
    return {start: (weight / total[start : start + tile]).astype(np.float32) for start, weight in weights.items()}


def _moments(x: jax.Array, weights: jax.Array) -> Moments:
    """Total weight [], weighted mean and weighted sum of squares about it, `[C]`, of maps `[N, h, w, C]`.

    `weights [N, H, W]` are reduced to the size of the maps.
    """
    n, h, w, _ = x.shape
    pooled = weights.reshape(n, h, weights.shape[1] // h, w, weights.shape[2] // w).mean((2, 4))[..., None]
    total = pooled.sum()
    mean = (x * pooled).sum((0, 1, 2)) / total
    return total, mean, (jnp.square(x - mean[None, None, None, :]) * pooled).sum((0, 1, 2))


def _joined(parts: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance `[C]` float32 of parts as `_moments` returns them; added up in float64."""
    totals, means, squares = (np.stack([np.asarray(part[i], np.float64) for part in parts]) for i in range(3))
    mean = (totals[:, None] * means).sum(0) / totals.sum()
    spread = (squares + totals[:, None] * np.square(means - mean)).sum(0) / totals.sum()
    return mean.astype(np.float32), spread.astype(np.float32)


def _change(before: Mapping[str, Any], after: Mapping[str, Any]) -> float:
    """The largest change of a mean or a deviation, in deviations."""
    changes = []
    for name, (mean, variance) in after.items():
        old_mean, old_variance = before[name]
        deviation = np.sqrt(variance + EPSILON)
        changes += [
            np.abs(mean - old_mean) / deviation,
            np.abs(np.sqrt(old_variance + EPSILON) - deviation) / deviation,
        ]
    return max(float(np.max(change)) for change in changes)


def _keys(seed: int | None, index: np.ndarray, places: Sequence[tuple[int, int]] | None = None) -> jax.Array | None:
    """Keys `[N]` of dropout, by image and by tile; None without a seed."""
    if seed is None:
        return None
    keys = jax.vmap(jax.random.fold_in, (None, 0))(root_key(seed), jnp.asarray(index, jnp.int32))
    if places is None:
        return keys
    numbers = jnp.asarray([(top << 16) + left for top, left in places], jnp.uint32)
    return jax.vmap(jax.random.fold_in)(keys, numbers)


def _check_images(config: Any, images: np.ndarray, instances: Any) -> None:
    """Raises ValueError where the images are not what the generator reads."""
    layouts = hasattr(config, "num_labels")
    if layouts:
        if images.ndim != 3 or not np.issubdtype(images.dtype, np.integer):
            raise ValueError(
                f"label maps are {images.dtype.name}{list(images.shape)}; this network takes integers [N, H, W] from 0 to "
                f"{config.num_labels - 1}"
            )
        if config.edges and (instances is None or np.shape(instances) != images.shape):
            raise ValueError("this network reads the edges of instances; give instances [N, H, W] of the same shape")
    elif images.ndim != 4 or images.dtype != np.uint8 or images.shape[3] != config.in_channels:
        raise ValueError(
            f"images are {images.dtype.name}{list(images.shape)}; this network takes uint8 [N, H, W, {config.in_channels}]"
        )
    if not math.prod(images.shape):
        raise ValueError("there are no images to translate")
