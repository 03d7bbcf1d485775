"""DCGAN (Radford et al., 2016) with 4x4 kernels, the layout of the common ports; layers named by resolution.

No layer has a residual branch that could start at zero, so a layer cannot be added at a resolution without a change of the
function: the depth follows from the resolution.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.config import DCGANConfig
from gan_jax.nets.build import Pair, example_inputs, make_net
from gan_jax.nets.conv import conv_down, conv_up
from gan_jax.nets.layers import Dense, Norm, at_least_float32

INIT = nn.initializers.normal(0.02)


def widths(config: DCGANConfig) -> dict[int, int]:
    """Returns the channels of the feature maps from 4 px up to half the image size."""
    sizes = [2**i for i in range(2, config.resolution.bit_length() - 1)]
    return {r: min(config.channel_base // r, config.channel_max) for r in sizes}


class Resample(nn.Module):
    """A 4x4 convolution, without bias, that doubles (`up`) or halves the size."""

    features: int
    up: bool
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", INIT, (4, 4, x.shape[-1], self.features)).astype(self.dtype)
        return (conv_up if self.up else conv_down)(x.astype(self.dtype), kernel)


class Generator(nn.Module):
    """Latents `z [N, z_dim]` -> images `[N, r, r, channels]` float32 in [-1, 1]."""

    config: DCGANConfig
    axis_name: str | None = None

    @nn.compact
    def __call__(self, z: jax.Array, labels: jax.Array | None = None, train: bool = False) -> jax.Array:
        c, width = self.config, widths(self.config)
        norm = lambda r: Norm(axis_name=self.axis_name, name=f"norm{r}")
        h = Dense(features=4 * 4 * width[4], bias=False, init_kernel=INIT, dtype=c.dtype, name="b4")(z)
        h = nn.relu(norm(4)(h.reshape(-1, 4, 4, width[4]), train=train))
        for r in list(width)[1:]:
            h = nn.relu(norm(r)(Resample(width[r], True, c.dtype, name=f"b{r}")(h), train=train))
        return jnp.tanh(at_least_float32(Resample(c.channels, True, c.dtype, name="to_rgb")(h)))


class Discriminator(nn.Module):
    """Images `[N, r, r, channels]` in [-1, 1] -> logits `[N]` float32; above 0 means real."""

    config: DCGANConfig
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, labels: jax.Array | None = None, train: bool = False) -> jax.Array:
        c, width = self.config, widths(self.config)
        top = c.resolution // 2
        h = nn.leaky_relu(Resample(width[top], False, c.dtype, name="from_rgb")(images), 0.2)
        for r in reversed(list(width)[:-1]):
            h = Resample(width[r], False, c.dtype, name=f"b{r}")(h)
            h = nn.leaky_relu(Norm(axis_name=self.axis_name, name=f"norm{r}")(h, train=train), 0.2)
        flat = at_least_float32(h).reshape(h.shape[0], -1)
        return Dense(features=1, bias=False, init_kernel=INIT, name="head")(flat)[:, 0]


def make(config: DCGANConfig, axis_name: str | None) -> Pair:
    """The pair of a configuration, batch statistics synchronised over the axis."""
    g, d = example_inputs(config)
    blocks = tuple(f"b{r}" for r in reversed(list(widths(config))[:-1]))
    nets = make_net(Generator(config, axis_name), g), make_net(Discriminator(config, axis_name), d)
    d_blocks, g_blocks = ("from_rgb", *blocks), tuple(f"b{r}" for r in widths(config))
    return Pair(*nets, config, d_blocks, g_blocks, ("head",), examples_mix=True)
