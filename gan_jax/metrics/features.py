"""Features of images, and the networks that give them. `extraction.extract` feeds the networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from importlib import resources
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.metrics.networks import NETWORKS, apply_to_pixels, read_folder, read_network, resize_clean
from gan_jax.metrics.statistics import MetricError
from gan_jax.trees import did_you_mean, unflatten


@dataclasses.dataclass(frozen=True)
class Features:
    """The features of a set of images.

    Attributes:
      values: [N, D] float32.
      logits: [N, K] float32, or None where the extractor is no classifier.
      extractor: `name@hash` of the network, empty for a function of the user.
    """

    values: np.ndarray
    logits: np.ndarray | None = None
    extractor: str = ""

    def __len__(self) -> int:
        return len(self.values)

    def take(self, indices: Any) -> Features:
        """The rows at these positions."""
        logits = None if self.logits is None else self.logits[indices]
        return dataclasses.replace(self, values=self.values[indices], logits=logits)


@dataclasses.dataclass(frozen=True)
class FeatureNet:
    """A network that gives features.

    Attributes:
      name: e.g. "fashion-v1"; every number measured through it carries this name.
      weights_hash: sha256 (hex) of the weights file; for weights from elsewhere, of the published file.
      dim: features per image.
      num_classes: logits per image; 0 where it is no classifier.
      resolution: height and width of its input, px.
      channels: channels of its input.
      apply: images from `prepare` -> (values [N, dim], logits [N, num_classes] or None).
      meta: the manifest of the weights: licence, training data, accuracy.
      resize: name of the resizing to `resolution`; a `legacy-..` resizing is part of `apply`.
      batch: images at a time.
    """

    name: str
    weights_hash: str
    dim: int
    num_classes: int
    resolution: int
    channels: int
    apply: Callable[[Any], tuple[jax.Array, jax.Array | None]]
    meta: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False, compare=False)
    resize: str = "antialiased-bicubic"
    batch: int = 256

    @property
    def identity(self) -> str:
        """`name@hash`, which Features carry."""
        return f"{self.name}@{self.weights_hash[:12]}"

    def prepare(self, images: np.ndarray) -> np.ndarray:
        """Converts uint8 images `[N, H, W, C]` of any size and channels to the input of `apply`.

        Anti-aliased resizing comes before the conversion of colours and gives uint8. `clean` comes after it and gives
        float32 in 0 .. 255. A `legacy-..` resizing is done by `apply`.
        """
        from gan_jax.data.convert import resize, to_channels

        if self.resize == "antialiased-bicubic":
            return to_channels(resize(images, self.resolution), self.channels)
        images = to_channels(images, self.channels)
        return resize_clean(images, self.resolution) if self.resize == "clean" else images


def load_features(name: str = "fashion-v1") -> FeatureNet:
    """Loads a feature network: one that comes with this package, or one whose weights are in the cache.

    Args:
      name: `fashion-v1`, `mobilenetv2`, `efficientnet-lite0`, `vgg16`, `vgg19`, `alexnet` or `inception-v3-fid`. After a colon a
        resolution in px may follow (`mobilenetv2:224`), for the last one a resizing (`inception-v3-fid:clean`).

    Raises:
      MetricError: an unknown name or option, weights that are not there (and how to get them), or that do not match
        their manifest.
    """
    base, _, option = name.partition(":")
    if base in NETWORKS:
        NETWORKS[base].choose(base, option)  # a wrong option is said before the weights are looked for
        manifest, raw = read_network(base)
        net = feature_net(base, read_leaves(raw), manifest["source"]["sha256"], option)
        return dataclasses.replace(net, meta=manifest)
    if name not in FEATURE_NETS:
        known = [*FEATURE_NETS, *NETWORKS]
        raise MetricError(f"no feature network {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}")
    return load_features_from(resources.files("gan_jax.data") / "embedded" / name)


def load_features_from(folder: Any) -> FeatureNet:
    """Loads an embedded feature network from a folder (a path or a resource) of weights.safetensors and manifest.json."""
    manifest, raw = read_folder(folder, FEATURE_NETS, "install the package again")
    return FeatureNet(
        name=manifest["name"],
        weights_hash=manifest["sha256"],
        dim=manifest["dim"],
        num_classes=manifest["num_classes"],
        resolution=manifest["resolution"],
        channels=manifest["channels"],
        apply=partial(_apply_from_uint8, manifest["name"], read_leaves(raw)),
        meta=manifest,
    )


def read_leaves(raw: bytes) -> Any:
    """The tree of a safetensors file, on the device."""
    from safetensors.numpy import load

    return unflatten(jax.tree.map(jnp.asarray, load(raw)))


def feature_net(name: str, params: Any, weights_hash: str = "", option: str = "") -> FeatureNet:
    """A network of `NETWORKS` with the given weights, which need not be the published ones.

    Args:
      name: `mobilenetv2` and so on.
      params: a tree with the leaves of the network's `specs`.
      weights_hash: name of the weights; empty = no name.
      option: a resolution in px or a resizing, as in `load_features`.
    """
    network = NETWORKS[name]
    resolution, resize = network.choose(name, option)
    return FeatureNet(
        name=name,
        weights_hash=weights_hash,
        dim=network.dim,
        num_classes=network.classes,
        resolution=resolution,
        channels=3,
        apply=partial(apply_to_pixels, name, resolution, resize, network.fold(params)),
        resize=resize,
        batch=network.batch,
    )


def _apply_small_conv(params: Any, images: Any) -> tuple[jax.Array, jax.Array]:
    from gan_jax.nets.features.classifiers import apply_small_conv

    return apply_small_conv(params, images)


@partial(jax.jit, static_argnums=0)
def _apply_from_uint8(name: str, params: Any, images: Any) -> tuple[jax.Array, jax.Array]:
    from gan_jax.data.convert import to_float

    return FEATURE_NETS[name](params, to_float(images))


FEATURE_NETS: dict[str, Callable[[Any, Any], tuple[jax.Array, jax.Array]]] = {"fashion-v1": _apply_small_conv}
