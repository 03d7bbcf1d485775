"""What features are, and the embedded networks that they are read from. `extraction.extract` feeds them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from functools import partial
from importlib import resources
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.metrics.statistics import MetricError
from gan_jax.trees import did_you_mean, unflatten


@dataclasses.dataclass(frozen=True)
class Features:
    """What a set of images looks like to an extractor.

    Attributes:
      values: [N, D] float32.
      logits: [N, K] float32, or None where the extractor is no classifier.
      extractor: `name@hash` of the network, empty for a function of the user's.
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
    """A network that features are read from.

    Attributes:
      name: e.g. "fashion-v1"; every number measured through it carries this name.
      weights_hash: sha256 (hex) of the weights file.
      dim: features per image.
      num_classes: logits per image.
      resolution: height and width of its input, px.
      channels: channels of its input.
      apply: images uint8 [N, resolution, resolution, channels] -> (values [N, dim], logits [N, num_classes]).
      meta: the manifest that came with the weights: licence, training data, accuracy.
    """

    name: str
    weights_hash: str
    dim: int
    num_classes: int
    resolution: int
    channels: int
    apply: Callable[[Any], tuple[jax.Array, jax.Array]]
    meta: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    @property
    def identity(self) -> str:
        """`name@hash`, which Features carry."""
        return f"{self.name}@{self.weights_hash[:12]}"

    def prepare(self, images: np.ndarray) -> np.ndarray:
        """uint8 images of any size and channels as this network takes them: anti-aliased resize, then luminance."""
        from gan_jax.data.convert import resize, to_channels

        return to_channels(resize(images, self.resolution), self.channels)


def load_features(name: str = "fashion-v1") -> FeatureNet:
    """Loads an embedded feature network.

    Raises:
      MetricError: an unknown name, or weights that do not match their manifest.
    """
    if name not in FEATURE_NETS:
        raise MetricError(
            f"no feature network {name!r}{did_you_mean(name, FEATURE_NETS)}; there are {', '.join(FEATURE_NETS)}"
        )
    return load_features_from(resources.files("gan_jax.data") / "embedded" / name)


def load_features_from(folder: Any) -> FeatureNet:
    """Loads a feature network from a folder (a path or a resource) of weights.safetensors and manifest.json."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    if manifest["name"] not in FEATURE_NETS:
        raise MetricError(f"{folder} holds weights of {manifest['name']!r}, which is none of {', '.join(FEATURE_NETS)}")
    from safetensors.numpy import load

    raw = (folder / "weights.safetensors").read_bytes()
    if (found := hashlib.sha256(raw).hexdigest()) != manifest["sha256"]:
        raise MetricError(
            f"{folder}/weights.safetensors has sha256 {found[:12]}..., its manifest says {manifest['sha256'][:12]}...; "
            "the file is damaged or was exchanged, so its numbers would not compare: install the package again"
        )
    return FeatureNet(
        name=manifest["name"],
        weights_hash=manifest["sha256"],
        dim=manifest["dim"],
        num_classes=manifest["num_classes"],
        resolution=manifest["resolution"],
        channels=manifest["channels"],
        apply=partial(_apply_from_uint8, manifest["name"], unflatten(jax.tree.map(jnp.asarray, load(raw)))),
        meta=manifest,
    )


def _apply_small_conv(params: Any, images: Any) -> tuple[jax.Array, jax.Array]:
    from gan_jax.nets.features.small_conv import apply_small_conv

    return apply_small_conv(params, images)


@partial(jax.jit, static_argnums=0)
def _apply_from_uint8(name: str, params: Any, images: Any) -> tuple[jax.Array, jax.Array]:
    from gan_jax.data.convert import to_float

    return FEATURE_NETS[name](params, to_float(images))


FEATURE_NETS: dict[str, Callable[[Any, Any], tuple[jax.Array, jax.Array]]] = {"fashion-v1": _apply_small_conv}
