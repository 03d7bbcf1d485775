"""CUT's feature network (Park et al., 2020): patches of feature maps become vectors of length 1 by an MLP for each map."""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.nets.build import Net, make_net
from gan_jax.nets.layers import Dense, at_least_float32, gan_init

TINY = 1e-7  # added to lengths


class MLP(nn.Module):
    """Two layers: `[..., C]` -> vectors `[..., dim]`."""

    dim: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        init = gan_init("xavier")
        h = nn.relu(Dense(features=self.dim, init_kernel=init, name="fc0")(x))
        return Dense(features=self.dim, init_kernel=init, name="fc1")(h)


class PatchMLP(nn.Module):
    """Patches of several maps, a list of `[..., C_i]` -> a list of vectors `[..., dim]` of length 1, float32."""

    widths: tuple[int, ...]
    dim: int = 256

    @nn.compact
    def __call__(self, x: Sequence[jax.Array], labels: jax.Array | None = None, train: bool = False) -> list[jax.Array]:
        if (actual := tuple(patches.shape[-1] for patches in x)) != self.widths:
            raise ValueError(f"patches have {list(actual)} channels, and this network is for {list(self.widths)}")
        return [unit(MLP(self.dim, name=f"mlp{i}")(at_least_float32(patches))) for i, patches in enumerate(x)]


def unit(x: jax.Array) -> jax.Array:
    """Divides vectors by their length plus `TINY`: `[..., C]` -> the same. Vectors of zeros stay, with a finite gradient."""
    square = jnp.square(x).sum(-1, keepdims=True)
    length = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
    return x / (length + TINY)


def sample_patches(features: jax.Array, ids: jax.Array) -> jax.Array:
    """Selects places of maps, numbered row by row, the same in each example: `[N, H, W, C]`, `[P]` -> `[N, P, C]`."""
    n, _, _, c = features.shape
    return features.reshape(n, -1, c)[:, ids]


def make_patch_mlp(widths: Sequence[int], dim: int = 256) -> Net:
    """Returns the network for maps of these numbers of channels; it is applied to a list of patches, one for each map."""
    return make_net(PatchMLP(tuple(widths), dim), ([jnp.zeros((1, 1, width)) for width in widths],))
