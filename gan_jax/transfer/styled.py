"""Styled convolutions of a generator, one by one, for methods that train some of them in a step."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp

from gan_jax.config import ConfigError
from gan_jax.nets import Pair
from gan_jax.trees import flatten

LAYER = re.compile(r"(?:^|/)b(\d+)/(?:conv(\d)|const)(?:/|$)")  # the constant at 4 px goes with the first convolution
Layers = tuple[tuple[int, int], ...]


def corrected(betas: jax.Array, own: jax.Array, all_: jax.Array) -> jax.Array:
    """`[layers]`: what turns Adam's step with the bias correction of `all_` updates into that with each layer's `own`."""
    bias = lambda n: 1 - betas[:, None] ** n.astype(jnp.float32)[None]
    first, second = bias(own) / bias(all_[None])
    return jnp.sqrt(second) / first


def style_layers(pair: Pair) -> Layers:
    """`(resolution, which)` of G's styled convolutions, in the order of the styles that they take.

    Raises:
      ConfigError: a generator without styles, or whose styles depend on a class.
    """
    if "synthesise" not in pair.g.parts or "map" not in pair.g.parts:
        raise ConfigError(
            "transfer.layers chooses layers by their styles, which only StyleGAN2 has; use 0 for all layers"
        )
    found = (LAYER.search(path) for path in flatten(pair.g.specs()["params"]))
    return tuple(sorted({(int(one[1]), int(one[2] or 1)) for one in found if one}))


def layer_of(path: str, layers: Layers) -> int:
    """The place of a leaf's layer among `layers`."""
    one = LAYER.search(path)
    assert one is not None, f"{path} is no leaf of a styled convolution"
    return layers.index((int(one[1]), int(one[2] or 1)))
