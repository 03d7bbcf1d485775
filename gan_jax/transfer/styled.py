"""Styled convolutions of a generator by index, for methods that train some of them in a step."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp

from gan_jax.config import ConfigError
from gan_jax.nets import Pair
from gan_jax.trees import flatten

LAYER = re.compile(r"(?:^|/)b(\d+)/(?:conv(\d)|const)(?:/|$)")  # the constant at 4 px goes with the first convolution
Layers = tuple[tuple[int, int], ...]


def corrected(betas: jax.Array, counts: jax.Array, all_: jax.Array) -> jax.Array:
    """Factors `[layers]` that change Adam's bias correction from `all_` updates to `counts [layers]`, each layer's own."""

    def bias(n: jax.Array) -> jax.Array:
        """`[2, layers]` 1 - beta^n."""
        return 1 - betas[:, None] ** n.astype(jnp.float32)[None]

    first, second = bias(counts) / bias(all_[None])
    return jnp.sqrt(second) / first


def style_layers(pair: Pair) -> Layers:
    """`(resolution, number)` of G's styled convolutions, in the order of their styles.

    Raises:
      ConfigError: the generator has no styles.
    """
    if "synthesise" not in pair.g.parts or "map" not in pair.g.parts:
        raise ConfigError(
            "transfer.layers chooses layers by their styles, which only StyleGAN2 has; use 0 for all layers"
        )
    matches = (LAYER.search(path) for path in flatten(pair.g.specs()["params"]))
    return tuple(sorted({(int(match[1]), int(match[2] or 1)) for match in matches if match}))


def layer_of(path: str, layers: Layers) -> int:
    """The index of a leaf's layer in `layers`."""
    match = LAYER.search(path)
    assert match is not None, f"{path} is no leaf of a styled convolution"
    return layers.index((int(match[1]), int(match[2] or 1)))
