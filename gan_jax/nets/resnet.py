"""The ResNet pair of SNGAN (Miyato et al., 2018), with blocks named by resolution so that growth never renames.

Two departures make growth exact: the image enters D through a linear 1x1 `from_rgb`, which commutes with pooling,
and leaves G through a 1x1 `to_rgb`, which commutes with nearest up-sampling. A new block with an identity skip
and a zero-output residual then computes the same function at the new resolution. Where `depth` is more than 1, every block
has further residuals `more0`, `more1`, .., without resampling and with identity skips.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.config import ResNetConfig
from gan_jax.nets.build import Pair, example_inputs, make_net, projection_head
from gan_jax.nets.conv import downsample_mean, upsample_nearest
from gan_jax.nets.layers import Conv, Dense, Embed, Norm, at_least_float32, needed, xavier

RESIDUAL = xavier(2**0.5)  # gain of the residual branch; skips use 1


def widths(config: ResNetConfig) -> dict[int, int]:
    """Returns the channels at every resolution from 4 px: `min(channel_base / r, channel_max)`, for every final size."""
    sizes = [2**i for i in range(2, config.resolution.bit_length())]
    return {r: min(config.channel_base // r, config.channel_max) for r in sizes}


class GResidual(nn.Module):
    """x + norm-relu-conv-norm-relu-conv: `[N, r, r, C]` -> the same."""

    num_classes: int
    axis_name: str | None
    dtype: str
    kernel: int

    @nn.compact
    def __call__(self, x: jax.Array, labels: jax.Array | None, train: bool) -> jax.Array:
        h = x
        for i in range(2):
            h = nn.relu(Norm(self.num_classes, self.axis_name, name=f"norm{i}")(h, labels, train))
            h = Conv(features=x.shape[-1], size=self.kernel, init_kernel=RESIDUAL, dtype=self.dtype, name=f"conv{i}")(h)
        return x + h


class GBlock(nn.Module):
    """norm-relu-up-conv-norm-relu-conv plus up-conv1x1: `[N, r/2, r/2, I]` -> `[N, r, r, features]`."""

    features: int
    num_classes: int
    axis_name: str | None
    dtype: str
    kernel: int = 3
    depth: int = 1
    upsample: Callable[[jax.Array], jax.Array] = upsample_nearest

    @nn.compact
    def __call__(self, x: jax.Array, labels: jax.Array | None, train: bool) -> jax.Array:
        norm = lambda name: Norm(self.num_classes, self.axis_name, name=name)
        options = {"size": self.kernel, "init_kernel": RESIDUAL, "dtype": self.dtype}
        conv = lambda name: Conv(features=self.features, name=name, **options)
        h = self.upsample(nn.relu(norm("norm0")(x, labels, train)))
        h = conv("conv0")(h)
        h = conv("conv1")(nn.relu(norm("norm1")(h, labels, train)))
        # A 1x1 convolution commutes with means of neighbours, as with repetition, and before them it costs a quarter.
        skip = Conv(features=self.features, size=1, dtype=self.dtype, name="skip")(x)
        h = h + self.upsample(skip)
        for i in range(self.depth - 1):
            more = GResidual(self.num_classes, self.axis_name, self.dtype, self.kernel, name=f"more{i}")
            h = more(h, labels, train)
        return h


class Generator(nn.Module):
    """Latents `z [N, z_dim]`, labels `[N]` or None -> images `[N, r, r, channels]` float32 in [-1, 1]."""

    config: ResNetConfig
    axis_name: str | None = None

    @nn.compact
    def __call__(self, z: jax.Array, labels: jax.Array | None = None, train: bool = False) -> jax.Array:
        c, width = self.config, widths(self.config)
        h = Dense(features=4 * 4 * width[4], dtype=c.dtype, name="stem")(z).reshape(-1, 4, 4, width[4])
        for r in list(width)[1:]:
            block = GBlock(width[r], c.num_classes, self.axis_name, c.dtype, c.kernel, c.depth, name=f"b{r}")
            h = block(h, labels, train)
        h = nn.relu(Norm(axis_name=self.axis_name, name="to_rgb_norm")(h, train=train))
        return jnp.tanh(Conv(features=c.channels, size=1, name="to_rgb")(h))


class DResidual(nn.Module):
    """x + relu-conv-relu-conv: `[N, r, r, C]` -> the same."""

    dtype: str
    kernel: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        h = x
        for i in range(2):
            conv = Conv(
                features=x.shape[-1],
                size=self.kernel,
                spectral=True,
                init_kernel=RESIDUAL,
                dtype=self.dtype,
                name=f"conv{i}",
            )
            h = conv(nn.relu(h), train)
        return x + h


class DBlock(nn.Module):
    """relu-conv-relu-conv-pool plus pool-conv1x1: `[N, r, r, I]` -> `[N, r/2, r/2, features]`, or r if not `down`."""

    hidden: int
    features: int
    down: bool
    dtype: str
    kernel: int = 3
    depth: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:

        def conv(name: str, features: int, size: int = self.kernel, **options: Any) -> Conv:
            return Conv(features=features, size=size, spectral=True, dtype=self.dtype, name=name, **options)

        for i in range(self.depth - 1):
            x = DResidual(self.dtype, self.kernel, name=f"more{i}")(x, train)
        h = conv("conv0", self.hidden, init_kernel=RESIDUAL)(nn.relu(x), train)
        h = conv("conv1", self.features, init_kernel=RESIDUAL)(nn.relu(h), train)
        skip = conv("skip", self.features, 1)(downsample_mean(x) if self.down else x, train)
        return (downsample_mean(h) if self.down else h) + skip


class Discriminator(nn.Module):
    """Images `[N, r, r, channels]` in [-1, 1], labels `[N]` or None -> logits `[N]` float32; above 0 means real."""

    config: ResNetConfig

    @nn.compact
    def __call__(self, images: jax.Array, labels: jax.Array | None = None, train: bool = False) -> jax.Array:
        c, width = self.config, widths(self.config)
        h = Conv(features=width[c.resolution], size=1, spectral=True, dtype=c.dtype, name="from_rgb")(images, train)
        for r in reversed(list(width)):
            out = width[r // 2] if r > 4 else width[4]
            h = DBlock(width[r], out, r > 4, c.dtype, c.kernel, c.depth, name=f"b{r}")(h, train)
        features = at_least_float32(nn.relu(h)).sum(axis=(1, 2))
        logits = Dense(features=1, spectral=True, name="head")(features, train)[:, 0]
        if c.num_classes:
            table = Embed(num_classes=c.num_classes, features=width[4], spectral=True, gain=True, name="embed")
            logits += (table(needed(labels), train) * features).sum(-1)
        return logits


def make(config: ResNetConfig, axis_name: str | None) -> Pair:
    """The pair of a configuration, batch statistics synchronised over the axis."""
    g, d = example_inputs(config)
    blocks = tuple(f"b{r}" for r in reversed(widths(config)))
    nets = make_net(Generator(config, axis_name), g), make_net(Discriminator(config), d)
    return Pair(*nets, config, ("from_rgb", *blocks), ("stem", *reversed(blocks[:-1])), projection_head(config))
