"""Encoders of images and text into one space, as CLIP, for methods whose target is a text.

This package has none. Register one by name before a run:

    from gan_jax.transfer.encoders import ENCODERS, Encoder
    ENCODERS["my-clip"] = lambda: Encoder(params, images=apply_to_images, text=apply_to_text)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config import ConfigError
from gan_jax.trees import Tree, did_you_mean


@dataclasses.dataclass(frozen=True)
class Encoder:
    """An encoder of images and text into one space.

    Attributes:
      params: parameters of `images`; a run keeps them in its state.
      images: `(params, [N, H, W, 3] float in [-1, 1]) -> [N, D]`, of any size of image, with gradients.
      text: `text -> [D]`.
    """

    params: Tree
    images: Callable[[Tree, jax.Array], jax.Array]
    text: Callable[[str], Any]


def load_encoder(name: str) -> Encoder:
    """The encoder that `transfer.clip` names.

    Raises:
      ConfigError: there is none of this name; says how to register one.
    """
    if name in ENCODERS:
        return ENCODERS[name]()
    how = 'give one in Python: gan_jax.transfer.encoders.ENCODERS["NAME"] = lambda: Encoder(params, images, text)'
    if not name:
        raise ConfigError(f"transfer.clip is empty, but this method needs an encoder of images and text; {how}")
    if Path(name).exists():
        raise ConfigError(
            f"transfer.clip is {name}, but CLIP's networks are not part of this version, so that its files cannot be read; "
            f"{how} and name it"
        )
    known = f"; there are {', '.join(ENCODERS)}" if ENCODERS else ""
    raise ConfigError(f"transfer.clip is {name!r}, which is no encoder{did_you_mean(name, ENCODERS)}{known}; {how}")


def embed_images(encoder: Encoder, params: Tree, images: jax.Array) -> jax.Array:
    """Unit vectors `[N, D]` of images `[N, H, W, C]` in [-1, 1]; grey ones count as RGB, alpha is dropped."""
    rgb = jnp.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images[..., :3]
    rows = encoder.images(params, rgb)
    return rows * jax.lax.rsqrt(jnp.square(rows).sum(-1, keepdims=True) + 1e-12)


def text_direction(encoder: Encoder, source: str, target: str) -> np.ndarray:
    """The unit vector `[D]` from one text to another.

    Raises:
      ConfigError: both texts are the same to the encoder.
    """
    unit = lambda row: row / np.linalg.norm(row)
    way = unit(np.asarray(encoder.text(target), np.float32)) - unit(np.asarray(encoder.text(source), np.float32))
    if not (length := float(np.linalg.norm(way))) > 0:
        raise ConfigError(
            f"transfer.source_text {source!r} and transfer.target_text {target!r} are the same to the encoder: there is no "
            "direction between them; change one"
        )
    return way / length


ENCODERS: dict[str, Callable[[], Encoder]] = {}
