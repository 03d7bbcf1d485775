"""Feature networks whose weights were trained elsewhere: the cache of weights, resizing of inputs, and features.

Their weights are not part of this package; `gan-jax weights get NAME` puts them into the cache.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data.convert import to_float
from gan_jax.documents import field_of, parse_document
from gan_jax.metrics.statistics import MetricError
from gan_jax.nets.features import classifiers, inception_v3, perceptual
from gan_jax.nets.features.steps import fold

# ----------------------------------------------------------------------------------------------------------------------
# The three resizings to 299 px in published Frechet Inception distances.
#
# They differ by several points of FID (Parmar et al. 2022, arXiv:2104.11222), so that a protocol names its own:
#
# - `legacy-tensorflow`: bilinear as TensorFlow 1 has it, the output's corner on the input's, no anti-aliasing. The
#   original FID, StyleGAN and torch-fidelity.
# - `legacy-pytorch`: bilinear, centres of pixels on centres, no anti-aliasing. pytorch-fid.
# - `clean`: anti-aliased bicubic on each channel by itself, in float and never rounded. clean-fid.
#
# The networks' pixels differ as well: `(x - 128) / 128`, but `x / 127.5 - 1` in pytorch-fid.


def resize_clean(images: np.ndarray, resolution: int) -> np.ndarray:
    """Pillow's bicubic filter in its float mode: uint8 `[N, H, W, C]` -> float32 in 0 .. 255, clipped, not rounded."""
    from PIL import Image

    out = np.empty((len(images), resolution, resolution, images.shape[-1]), np.float32)
    for picture, place in zip(images.astype(np.float32), out):
        for c in range(images.shape[-1]):
            channel = Image.fromarray(picture[..., c])
            place[..., c] = np.asarray(channel.resize((resolution, resolution), Image.Resampling.BICUBIC))
    return out.clip(0, 255)


def resize_tensorflow(x: jax.Array, resolution: int) -> jax.Array:
    """TensorFlow 1's bilinear resize: output i reads at i * in / out. `[N, H, W, C]` float32, any range."""
    for axis in (2, 1):
        size = x.shape[axis]
        at = np.arange(resolution, dtype=np.float32) * np.float32(size / resolution)
        low, high, way = _between(x, axis, at)
        x = low + (high - low) * way
    return x


def resize_pytorch(x: jax.Array, resolution: int) -> jax.Array:
    """`F.interpolate(mode="bilinear", align_corners=False)`: output i reads at (i + 1/2) in / out - 1/2, from 0 on."""
    for axis in (2, 1):
        scale = np.float32(x.shape[axis]) / np.float32(resolution)
        at = ((np.arange(resolution) + 0.5) * np.float64(scale) - 0.5).astype(np.float32)  # rounded once, as theirs
        low, high, way = _between(x, axis, np.maximum(at, 0))
        x = low * (1 - way) + high * way
    return x


def _between(x: jax.Array, axis: int, at: np.ndarray) -> tuple[jax.Array, jax.Array, np.ndarray]:
    """The two neighbours of each position along an axis, and its interpolation weight between them."""
    low = np.minimum(at.astype(np.int32), x.shape[axis] - 1)
    high = np.minimum(low + 1, x.shape[axis] - 1)
    shape = [1, 1, 1, 1]
    shape[axis] = len(at)
    return jnp.take(x, low, axis), jnp.take(x, high, axis), (at - low.astype(np.float32)).reshape(shape)


IN_NETWORK: dict[str, Callable[[jax.Array, int], jax.Array]] = {  # part of the compiled extractor; others come before
    "legacy-tensorflow": resize_tensorflow,
    "legacy-pytorch": resize_pytorch,
}
FID_RESIZES = ("legacy-tensorflow", "legacy-pytorch", "clean")


# ----------------------------------------------------------------------------------------------------------------------
# The cache of weights that are not part of this package: a folder of the user, filled by `gan-jax weights get`.
#
# `$GAN_JAX_CACHE` names it; the default is the platform's folder for caches. A network's weights are
# `features/NAME/weights.safetensors`; `features/NAME/manifest.json` names their source.

WEIGHTS, MANIFEST = "weights.safetensors", "manifest.json"


def cache_folder() -> Path:
    """The folder of all files that this package caches for a user."""
    if named := os.environ.get("GAN_JAX_CACHE"):
        return Path(named).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "gan_jax" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "gan_jax"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gan_jax"


def network_folder(name: str) -> Path:
    """The folder for the weights of a network, whether they are there or not."""
    return cache_folder() / "features" / name


def is_there(name: str) -> bool:
    """Whether a network's weights are in the cache."""
    return all((network_folder(name) / part).is_file() for part in (WEIGHTS, MANIFEST))


def read_network(name: str) -> tuple[dict[str, Any], bytes]:
    """The manifest of a network's weights, and the safetensors file as bytes.

    Raises:
      MetricError: they are not there; the message has the command that gets them.
    """
    folder = network_folder(name)
    if not is_there(name):
        raise MetricError(
            f"the weights of {name} are not in {folder}, and not part of this package: gan-jax weights get {name}"
        )
    return read_folder(folder, (name,), f"get them again: gan-jax weights get {name} --again")


def read_folder(folder: Any, known: Collection[str], remedy: str) -> tuple[dict[str, Any], bytes]:
    """The manifest and the weights of a folder (a path or a resource), checked against each other.

    Raises:
      MetricError: they do not belong together (`remedy` ends the message), or the network is not one of `known`.
    """
    text, where = (folder / MANIFEST).read_text(encoding="utf-8", errors="replace"), f"{folder}/{MANIFEST}"
    manifest = parse_document(text, where, MetricError)
    for name in ("name", "sha256"):
        field_of(manifest, name, str, where, MetricError)
    if manifest["name"] not in known:
        raise MetricError(f"{folder} holds weights of {manifest['name']!r}, which is none of {', '.join(known)}")
    raw = (folder / WEIGHTS).read_bytes()
    if (digest := hashlib.sha256(raw).hexdigest()) != manifest["sha256"]:
        raise MetricError(
            f"{folder}/{WEIGHTS} has sha256 {digest[:12]}..., its manifest says {manifest['sha256'][:12]}...; "
            f"the file is damaged or was exchanged, so its numbers would not compare: {remedy}"
        )
    return manifest, raw


# ----------------------------------------------------------------------------------------------------------------------
# Feature networks: their inputs and their features.

Outputs = tuple[jax.Array, jax.Array | None]


@dataclasses.dataclass(frozen=True)
class Network:
    """A feature network.

    Attributes:
      title: in tables.
      apply: (params, pixels from `normalise`) -> features [N, dim] and logits, or None where it has no classes.
      specs: gives the shapes of its leaves, as a tree.
      fold: params -> params without batch statistics, for the same features.
      normalise: (pixels in 0 .. 255, resize) -> its input.
      dim: features of an image.
      classes: logits of an image.
      resolution: default, px.
      least: the smallest input, px.
      resizes: possible resizings; the first is the default.
      batch: images at a time that a machine of 8 GB can hold.
    """

    title: str
    apply: Callable[[Any, jax.Array], Outputs]
    specs: Callable[[], Any]
    fold: Callable[[Any], Any]
    normalise: Callable[[jax.Array, str], jax.Array]
    dim: int
    classes: int
    resolution: int
    least: int
    resizes: tuple[str, ...] = ("antialiased-bicubic",)
    batch: int = 64

    def choose(self, name: str, option: str) -> tuple[int, str]:
        """Resolution and resize of `NAME:OPTION`.

        Raises:
          MetricError: an option that the network does not have.
        """
        if not option:
            return self.resolution, self.resizes[0]
        if len(self.resizes) > 1 and option in self.resizes:
            return self.resolution, option
        if len(self.resizes) == 1 and option.isdecimal() and int(option) >= self.least:
            return int(option), self.resizes[0]
        choices = (
            f"a resizing, one of {', '.join(self.resizes)}"
            if len(self.resizes) > 1
            else f"a resolution in px from {self.least}, such as {name}:{self.resolution}"
        )
        raise MetricError(f"{name}:{option} has an unknown option; after the colon stands {choices}")


@partial(jax.jit, static_argnums=(0, 1, 2))
def apply_to_pixels(name: str, resolution: int, resize: str, params: Any, images: Any) -> Outputs:
    """Features and logits of images `[N, H, W, 3]`: uint8, or float32 in 0 .. 255 that was resized before."""
    network, x = NETWORKS[name], images.astype("float32")
    if resize in IN_NETWORK:
        x = IN_NETWORK[resize](x, resolution)
    return network.apply(params, network.normalise(x, resize))


def _inception_pixels(x: jax.Array, resize: str) -> jax.Array:
    return x / 127.5 - 1 if resize == "legacy-pytorch" else (x - 128) / 128


def _imagenet_pixels(x: jax.Array, resize: str) -> jax.Array:
    mean, std = (jnp.asarray(row, x.dtype)[None, None, None] for row in (classifiers.MEAN, classifiers.STD))
    return (x / 255 - mean) / std


def _lite_pixels(x: jax.Array, resize: str) -> jax.Array:
    return (x - 127) / 128


def _symmetric_pixels(x: jax.Array, resize: str) -> jax.Array:
    return to_float(x)


def _grey_pixels(x: jax.Array, resize: str) -> jax.Array:
    return x.mean(-1, keepdims=True) / 255


def _last_layer(stages: Any) -> Callable[[Any, jax.Array], Outputs]:
    """The mean over pixels of the last layer that LPIPS compares."""
    return lambda params, x: (perceptual.perceptual_layers(params, stages, x)[-1].mean((1, 2)), None)


def _first_of_last_stage(params: Any, x: jax.Array) -> Outputs:
    """The mean over pixels of VGG19's relu5_1."""
    return perceptual.stage_maps(params, perceptual.VGG19, x)[-1].mean((1, 2)), None


FID_NETWORK = "inception-v3-fid"
FID_WEIGHTS = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"  # sha256 of the usual file
PERCEPTUAL = {"alexnet": perceptual.ALEXNET, "vgg16": perceptual.VGG16}  # networks that LPIPS has heads for
# Networks whose features losses compare -> `(params, images [N, H, W, 3] in [-1, 1]) -> maps of five stages`. VGG19 reads the
# images as they are, as in the code of pix2pixHD and SPADE, VGG16 shifted and scaled, as it was trained.
COMPARED: dict[str, Callable[[Any, jax.Array], list[jax.Array]]] = {
    "vgg19": lambda params, images: perceptual.stage_maps(params, perceptual.VGG19, images),
    "vgg16": lambda params, images: perceptual.perceptual_layers(params, perceptual.VGG16, images),
}

NETWORKS: dict[str, Network] = {
    "mobilenetv2": Network(
        "MobileNetV2", classifiers.apply_mobilenet_v2, classifiers.mobilenet_v2_specs,
        partial(fold, steps=classifiers.MOBILENET_V2_STEPS), _imagenet_pixels, 1280, 1000, 96, least=32,
    ),
    "efficientnet-lite0": Network(
        "EfficientNet-Lite0", classifiers.apply_efficientnet_lite0, classifiers.efficientnet_lite0_specs,
        partial(fold, steps=classifiers.EFFICIENTNET_LITE0_STEPS), _lite_pixels, 1280, 1000, 224, least=32,
    ),
    "vgg16": Network(
        "VGG16", _last_layer(perceptual.VGG16), partial(perceptual.perceptual_specs, perceptual.VGG16),
        dict, _symmetric_pixels, 512, 0, 64, least=16,
    ),
    "vgg19": Network(
        "VGG19", _first_of_last_stage, perceptual.vgg19_specs, dict, _imagenet_pixels, 512, 0, 64, least=16,
    ),
    "alexnet": Network(
        "AlexNet", _last_layer(perceptual.ALEXNET), partial(perceptual.perceptual_specs, perceptual.ALEXNET),
        dict, _symmetric_pixels, 256, 0, 224, least=31,
    ),
    "lenet-mnist": Network(
        "LeNet-5 (MNIST)", classifiers.apply_lenet, classifiers.lenet_specs, dict, _grey_pixels,
        classifiers.LENET_FEATURES, classifiers.LENET_CLASSES, 32, least=32, batch=256,
    ),
    FID_NETWORK: Network(
        "FID Inception", inception_v3.apply_inception_v3, inception_v3.inception_v3_specs,
        partial(fold, steps=inception_v3.STEPS), _inception_pixels, 2048, 1008, 299, least=75,
        resizes=FID_RESIZES, batch=32,
    ),
}  # fmt: skip
