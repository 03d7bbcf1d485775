"""Feature networks whose weights were trained elsewhere: their features and their inputs.

Their weights are not part of this package; `gan-jax weights get NAME` puts them into the cache (`cache.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.data.convert import to_float
from gan_jax.metrics.resizing import FID_RESIZES, IN_NETWORK
from gan_jax.metrics.statistics import MetricError
from gan_jax.nets.features import inception_v3, lenet, mobilenet, perceptual
from gan_jax.nets.features.leaves import fold

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
    mean, std = (jnp.asarray(row, x.dtype)[None, None, None] for row in (mobilenet.MEAN, mobilenet.STD))
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


FID_NETWORK = "inception-v3-fid"
FID_WEIGHTS = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"  # sha256 of the usual file
PERCEPTUAL = {"alexnet": perceptual.ALEXNET, "vgg16": perceptual.VGG16}  # networks that LPIPS has heads for

NETWORKS: dict[str, Network] = {
    "mobilenetv2": Network(
        "MobileNetV2", mobilenet.apply_mobilenet_v2, mobilenet.mobilenet_v2_specs,
        partial(fold, steps=mobilenet.MOBILENET_V2_STEPS), _imagenet_pixels, 1280, 1000, 96, least=32,
    ),
    "efficientnet-lite0": Network(
        "EfficientNet-Lite0", mobilenet.apply_efficientnet_lite0, mobilenet.efficientnet_lite0_specs,
        partial(fold, steps=mobilenet.EFFICIENTNET_LITE0_STEPS), _lite_pixels, 1280, 1000, 224, least=32,
    ),
    "vgg16": Network(
        "VGG16", _last_layer(perceptual.VGG16), partial(perceptual.perceptual_specs, perceptual.VGG16),
        dict, _symmetric_pixels, 512, 0, 64, least=16,
    ),
    "alexnet": Network(
        "AlexNet", _last_layer(perceptual.ALEXNET), partial(perceptual.perceptual_specs, perceptual.ALEXNET),
        dict, _symmetric_pixels, 256, 0, 224, least=31,
    ),
    "lenet-mnist": Network(
        "LeNet-5 (MNIST)", lenet.apply_lenet, lenet.lenet_specs, dict, _grey_pixels, lenet.FEATURES, lenet.CLASSES, 32,
        least=32, batch=256,
    ),
    FID_NETWORK: Network(
        "FID Inception", inception_v3.apply_inception_v3, inception_v3.inception_v3_specs,
        partial(fold, steps=inception_v3.STEPS), _inception_pixels, 2048, 1008, 299, least=75,
        resizes=FID_RESIZES, batch=32,
    ),
}  # fmt: skip
