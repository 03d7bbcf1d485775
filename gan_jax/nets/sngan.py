"""SNGAN as its published code builds it (Miyato et al., 2018), the layout of pretrained files.

Our own `resnet` is made to grow; this family differs. The image enters D through a 3x3 convolution of its first block, and
leaves G through one, so no block can be put before them exactly. D ends where its blocks end, not at 4 px. G may start with
maps of any size, and may upsample by interpolation. In the code of mimicry, D's first ReLU works in place, so its shortcut
reads the ReLU's output too (`cut_skips`); networks trained there rely on it.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.config import SNGANConfig
from gan_jax.nets.biggan import Stage
from gan_jax.nets.build import Pair, example_inputs, make_net, projection_head
from gan_jax.nets.conv import downsample_mean, upsample_linear, upsample_nearest
from gan_jax.nets.layers import Conv, Dense, Embed, Norm, at_least_float32, needed
from gan_jax.nets.resnet import RESIDUAL, GBlock

UPSAMPLE = {"bilinear": upsample_linear, "nearest": upsample_nearest}


def widths(config: SNGANConfig) -> dict[int, int]:
    """Returns the channels of G's maps by size, from the smallest."""
    first = config.resolution >> (len(config.g_widths) - 1)
    return {first << i: width for i, width in enumerate(config.g_widths)}


def stages(config: SNGANConfig) -> list[Stage]:
    """Returns the blocks of D from the image downwards; extra blocks at the last size are named `b8_more0` and so on."""
    r, read, blocks = config.resolution, config.channels, []
    for i, features in enumerate((*config.d_widths, *config.d_rest)):
        down, rest = i < len(config.d_widths), i - len(config.d_widths)
        name = f"b{r}" if rest <= 0 else f"b{r}_more{rest - 1}"
        blocks.append(Stage(name, read, features if i == 0 else read, features, down, i == 0, False))
        r, read = r // 2 if down else r, features
    return blocks


class Generator(nn.Module):
    """Latents `z [N, z_dim]`, labels `[N]` or None -> images `[N, r, r, channels]` float32 in [-1, 1]."""

    config: SNGANConfig
    axis_name: str | None = None

    @nn.compact
    def __call__(self, z: jax.Array, labels: jax.Array | None = None, train: bool = False) -> jax.Array:
        c, width = self.config, widths(self.config)
        first, *sizes = width
        h = Dense(features=first**2 * width[first], dtype=c.dtype, name="stem")(z)
        h = h.reshape(-1, first, first, width[first])
        for r in sizes:
            options = {"upsample": UPSAMPLE[c.upsample], "name": f"b{r}"}
            h = GBlock(width[r], c.num_classes, self.axis_name, c.dtype, **options)(h, labels, train)
        h = nn.relu(Norm(axis_name=self.axis_name, name="to_rgb_norm")(h, train=train))
        return jnp.tanh(at_least_float32(Conv(features=c.channels, size=3, dtype=c.dtype, name="to_rgb")(h)))


class DBlock(nn.Module):
    """relu-conv-relu-conv plus a shortcut, both halved by means if the stage goes down: `[N, r, r, I]` -> features."""

    stage: Stage
    config: SNGANConfig

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        s, options = self.stage, {**estimate(self.config), "dtype": self.config.dtype}
        conv = lambda name, features: Conv(features=features, init_kernel=RESIDUAL, name=name, **options)
        halved = downsample_mean if s.down else lambda y: y
        read = x if s.first else nn.relu(x)
        h = conv("conv0", s.hidden)(read, train)
        h = halved(conv("conv1", s.features)(nn.relu(h), train))
        skip = halved(read if self.config.cut_skips else x)  # a 1x1 convolution commutes with means
        return h + (Conv(features=s.features, size=1, name="skip", **options)(skip, train) if s.has_skip else skip)


class Discriminator(nn.Module):
    """Images `[N, r, r, channels]` in [-1, 1], labels `[N]` or None -> logits `[N]` float32; above 0 means real."""

    config: SNGANConfig

    @nn.compact
    def __call__(self, images: jax.Array, labels: jax.Array | None = None, train: bool = False) -> jax.Array:
        c, h = self.config, images.astype(self.config.dtype)
        for stage in stages(c):
            h = DBlock(stage, c, name=stage.name)(h, train)
        features = at_least_float32(nn.relu(h)).sum(axis=(1, 2))
        logits = Dense(features=1, name="head", **estimate(c))(features, train)[:, 0]
        if c.num_classes:
            table = Embed(
                num_classes=c.num_classes, features=features.shape[-1], spectral=True, gain=True, name="embed"
            )
            logits += (table(needed(labels), train) * features).sum(-1)
        return logits


def estimate(config: SNGANConfig) -> dict[str, Any]:
    """Returns the options by which D's layers estimate their largest singular value."""
    return {"spectral": True, "refine": config.estimate == "refined", "stored": config.estimate == "stored"}


def make(config: SNGANConfig, axis_name: str | None) -> Pair:
    """The pair of a configuration, batch statistics synchronised over the axis."""
    g, d = example_inputs(config)
    nets = make_net(Generator(config, axis_name), g), make_net(Discriminator(config), d)
    g_blocks = ("stem", *(f"b{r}" for r in list(widths(config))[1:]))
    return Pair(*nets, config, tuple(stage.name for stage in stages(config)), g_blocks, projection_head(config))
