"""Relaxed realism in D (Ojha et al., CVPR 2021): logits of whole images near anchors, logits of patches elsewhere."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from gan_jax.config import CDCConfig, ConfigError
from gan_jax.nets import Pair
from gan_jax.nets.conv import conv
from gan_jax.nets.layers import at_least_float32, xavier
from gan_jax.reserved import GRAFT, PATCH
from gan_jax.train.context import DOutput, StepContext
from gan_jax.transfer.correspondence.anchors import at_anchors
from gan_jax.transfer.correspondence.layers import d_layers
from gan_jax.transfer.graft import Graft
from gan_jax.trees import Tree


@dataclasses.dataclass(frozen=True)
class Patches:
    """A second head of D: a 3x3 convolution from one of its maps to a logit at each position.

    Attributes:
      path: the module of D whose output is the map.
      features: number of channels of the map.
    """

    path: str
    features: int

    @property
    def graft(self) -> Graft:
        """The head as further parameters of D."""

        def head(key: jax.Array, params: Tree) -> Tree:
            return {"kernel": xavier()(key, (3, 3, self.features, 1)), "bias": jnp.zeros((1,))}

        return Graft(branches={PATCH: head})

    def logits(self, config: CDCConfig, ctx: StepContext, output: DOutput) -> jax.Array:
        """Logits `[B, h, w]` of the adversarial loss: that of the whole image near anchors, else those of its patches."""
        head = ctx.d["params"][GRAFT][PATCH]
        patches = conv(at_least_float32(output.intermediates[self.path]), head["kernel"])[..., 0] + head["bias"][0]
        return jnp.where(at_anchors(config, ctx), output.logits[:, None, None], patches)


def find_patches(pair: Pair, patch_px: int | None) -> Patches:
    """The head on D's first map of `patch_px`, counted from the image; None = a quarter of the image.

    Raises:
      ConfigError: D has no map of that size.
    """
    size = pair.config.resolution // 4 if patch_px is None else patch_px
    maps = {path: shape for path, shape in d_layers(pair).items() if len(shape) == 3}
    for path, shape in maps.items():
        if shape[0] == size:
            return Patches(path, shape[-1])
    if not maps:
        raise ConfigError(
            "logits of patches need a feature map of D, but this D has none; use dcl, which needs no maps"
        )
    sizes = ", ".join(f"{shape[0]} px ({path})" for path, shape in maps.items())
    raise ConfigError(
        f"logits of patches need a map of D of {size} px, but its maps are: {sizes}; change transfer.patch_px"
    )
