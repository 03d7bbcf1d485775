"""LPIPS distances between images, with weights from the cache. The function itself is in `nets.features.perceptual`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data.convert import to_channels, to_float
from gan_jax.metrics.extraction import extract_batches
from gan_jax.metrics.features import read_leaves
from gan_jax.metrics.networks import COMPARED, NETWORKS, PERCEPTUAL, read_network
from gan_jax.metrics.statistics import MetricError
from gan_jax.nets.features.perceptual import embed, lpips
from gan_jax.trees import did_you_mean

RANGE_SLACK = 0.01  # of the range: what filters add beyond it


@dataclasses.dataclass(frozen=True)
class Perceptual:
    """LPIPS through one network.

    Attributes:
      network: "vgg16" or "alexnet".
      weights_hash: sha256 (hex) of the published weights.
      params: the network and its heads.
    """

    network: str
    weights_hash: str
    params: Any = dataclasses.field(repr=False, compare=False)
    # fields that `make_protocol` reads: images keep their size, grey ones fill all three channels
    resolution: None = None
    channels: int = 3
    resize: str = "none"

    @property
    def name(self) -> str:
        """The name of the extractor in a protocol."""
        return f"lpips-{self.network}"

    def distance(self, a: Any, b: Any, value_range: tuple[float, float] | None = None) -> np.ndarray:
        """LPIPS `[N]` float32 of pairs.

        Args:
          a: [N, H, W, C]: uint8 with 1, 3 or 4 channels, or float32 with 1 or 3.
          b: the second image of each pair, same shape. Similar images have other distances once rounded to uint8.
          value_range: black and white of float images: (-1, 1), (0, 1) or (0, 255), for example. None is (-1, 1), and an
            error where no pixel of any image is below 0, since that looks like (0, 1).

        Raises:
          MetricError: other images, pixels outside their range, or smaller images than the network can see.
        """
        _check_range((a, b), value_range)
        a, b = self._pixels(a, value_range), self._pixels(b, value_range)
        if a.shape != b.shape:
            raise MetricError(f"pairs of {list(a.shape)} and {list(b.shape)}; LPIPS compares images of one shape")
        return np.asarray(_distance(self.network, self.params, a, b))

    def embed(self, images: np.ndarray) -> jax.Array:
        """Vectors [N, D] of uint8 images whose squared Euclidean distance is LPIPS. D grows with the pixels."""
        return _embed(self.network, self.params, self._pixels(images))

    def matrix(self, a: Any, b: Any, batch: int = 16) -> np.ndarray:
        """LPIPS `[N, M]` float32 between every image of `a` and every image of `b`, both uint8 `[.., H, W, C]`.

        The vectors of all images of `b` are in memory at once: with VGG16, 2 MB an image of 64 px, 34 MB at 256 px.
        """
        if np.shape(a)[1:3] != np.shape(b)[1:3]:
            raise MetricError(
                f"images of {list(np.shape(a)[1:3])} and {list(np.shape(b)[1:3])} px; LPIPS needs one size"
            )
        bank = jnp.concatenate([part for part, _ in extract_batches(self.embed, b, batch=batch)])
        rows = extract_batches(self.embed, a, batch=batch)
        return np.concatenate([np.asarray(_squared_distances(part, bank)) for part, _ in rows])

    def _pixels(self, images: Any, value_range: tuple[float, float] | None = None) -> jax.Array:
        shape, kind = np.shape(images), getattr(images, "dtype", None)
        known = (1, 3, 4) if kind == np.uint8 else (1, 3)
        if len(shape) != 4 or shape[3] not in known or kind not in (np.uint8, np.float32):
            raise MetricError(
                f"images are {kind}{list(shape)}; LPIPS takes [N, H, W, C] of uint8 or of float32 in [-1, 1], "
                "grey or RGB"
            )
        if min(shape[1:3]) < NETWORKS[self.network].least:
            raise MetricError(
                f"images of {shape[1]} x {shape[2]} px are too small for {self.network}, which needs "
                f"{NETWORKS[self.network].least}; enlarge them first (gan_jax.data.resize)"
            )
        if kind == np.uint8:
            return jnp.asarray(to_float(to_channels(np.asarray(images), 3)))
        images = jnp.asarray(images)
        if value_range is not None and value_range != (-1, 1):
            black, white = value_range
            images = (images - black) * (2 / (white - black)) - 1
        return jnp.broadcast_to(images, (*shape[:3], 3))


def _check_range(pair: tuple[Any, Any], value_range: tuple[float, float] | None) -> None:
    """Raises MetricError where pixels of float images are outside their declared range."""
    floats = [np.asarray(x) for x in pair if getattr(x, "dtype", None) == np.float32 and np.size(x)]
    if not floats:
        return
    black, white = value_range or (-1, 1)
    if not black < white:
        raise MetricError(f"value_range is {value_range}; give black and white, such as (0, 1)")
    least, most = (float(f([f(x) for x in floats])) for f in (np.min, np.max))
    values_text = f"pixels from {least:g} to {most:g}"
    slack = RANGE_SLACK * (white - black)
    if not (black - slack <= least and most <= white + slack):  # NaN too
        raise MetricError(
            f"{values_text} are outside [{black:g}, {white:g}], which float images are taken for; name their range, "
            "value_range=(0, 255) or (0, 1), or give uint8"
        )
    if value_range is None and least >= 0:
        raise MetricError(
            f"{values_text}: none is below 0, as in images of [0, 1], but float images are taken for [-1, 1]; "
            "say which with value_range=(0, 1) or (-1, 1)"
        )


def load_perceptual(network: str = "vgg16") -> Perceptual:
    """Loads LPIPS with `vgg16` (intra-cluster LPIPS of few-shot papers) or `alexnet` (recommended by LPIPS's authors).

    Raises:
      MetricError: an unknown network, or weights that are not there (and how to get them).
    """
    if network not in PERCEPTUAL:
        raise MetricError(
            f"no LPIPS network {network!r}{did_you_mean(network, PERCEPTUAL)}; there are {', '.join(PERCEPTUAL)}"
        )
    manifest, raw = read_network(network)
    return Perceptual(network, manifest["source"]["sha256"], read_leaves(raw))


def load_compared(network: str = "vgg19") -> tuple[Any, Callable[[Any, jax.Array], list[jax.Array]]]:
    """Loads the features that a perceptual loss compares: `(params, function)`.

    Args:
      network: "vgg19", as in pix2pixHD and SPADE, or "vgg16", whose file is smaller.

    Returns:
      `params`, which do not train, and `(params, images [N, H, W, C] in [-1, 1]) -> five maps [N, h, w, c]`, the finest
      first. Grey images fill all three channels; alpha is left out.

    Raises:
      MetricError: an unknown network, or weights that are not there (and how to get them).
    """
    if network not in COMPARED:
        raise MetricError(
            f"no network {network!r} for a perceptual loss{did_you_mean(network, COMPARED)}; there are {', '.join(COMPARED)}"
        )

    def maps(params: Any, images: jax.Array) -> list[jax.Array]:
        colour = images[..., :3] if images.shape[-1] > 1 else jnp.broadcast_to(images, (*images.shape[:3], 3))
        return COMPARED[network](params, colour)

    return read_leaves(read_network(network)[1]), maps


@partial(jax.jit, static_argnums=0)
def _distance(network: str, params: Any, a: jax.Array, b: jax.Array) -> jax.Array:
    return lpips(params, PERCEPTUAL[network], a, b)


@partial(jax.jit, static_argnums=0)
def _embed(network: str, params: Any, images: jax.Array) -> jax.Array:
    return embed(params, PERCEPTUAL[network], images)


@jax.jit
def _squared_distances(a: jax.Array, b: jax.Array) -> jax.Array:
    """Squared distances [N, M] of rows [N, D] and [M, D], from differences, so that near copies keep their digits."""
    return jax.lax.map(lambda row: jnp.square(b - row[None]).sum(1), a)
