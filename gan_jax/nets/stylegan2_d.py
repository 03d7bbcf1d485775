"""The discriminators of StyleGAN2: residual (the default), skip, and plain ("orig")."""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.config import StyleGAN2Config
from gan_jax.nets.equalised import Conv, Dense
from gan_jax.nets.layers import at_least_float32
from gan_jax.nets.resample import downsample
from gan_jax.nets.stylegan2 import Mapping, dtype_at, widths

HALF = math.sqrt(0.5)


class Block(nn.Module):
    """Features (None in the first block) and image at a resolution -> features at half of it."""

    config: StyleGAN2Config
    r: int

    @nn.compact
    def __call__(self, x: jax.Array | None, images: jax.Array | None) -> jax.Array:
        c, width = self.config, widths(self.config)
        dtype = dtype_at(c, self.r)
        conv = lambda name, features, **options: Conv(features, clamp=c.clamp, dtype=dtype, name=name, **options)
        if images is not None:
            rgb = conv("from_rgb", width[self.r], size=1)(images)
            x = rgb if x is None else x + rgb
        assert x is not None
        h = conv("conv0", width[self.r])(x)
        if c.discriminator != "residual":
            return conv("conv1", width[self.r // 2], down=True)(h)
        skip = conv("skip", width[self.r // 2], size=1, down=True, bias=False, activate=False)(x, HALF)
        return skip + conv("conv1", width[self.r // 2], down=True)(h, HALF)


class Epilogue(nn.Module):
    """Features at 4 px -> `[N, features]`, or the logit `[N, 1]` of an unconditional network."""

    config: StyleGAN2Config
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array, images: jax.Array | None) -> jax.Array:
        c, features = self.config, widths(self.config)[4]
        x = at_least_float32(x)
        if images is not None:
            x += Conv(features, size=1, clamp=c.clamp, name="from_rgb")(images)
        if c.mbstd_group:
            x = jnp.concatenate([x, minibatch_stddev(x, c.mbstd_group, self.axis_name)], axis=-1)
        x = Conv(features, clamp=c.clamp, name="conv")(x)
        x = Dense(features, activate=True, name="fc")(x.reshape(x.shape[0], -1))
        return Dense(features if c.num_classes else 1, name="out")(x)


class Discriminator(nn.Module):
    """Images `[N, r, r, channels]` in [-1, 1], labels `[N]` or None -> logits `[N]` float32; above 0 means real."""

    config: StyleGAN2Config
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, labels: jax.Array | None = None, train: bool = False) -> jax.Array:
        c, width = self.config, widths(self.config)
        skip, x = c.discriminator == "skip", None
        for r in list(reversed(width))[:-1]:
            x = Block(c, r, name=f"b{r}")(x, images if skip or x is None else None)
            images = downsample(images) if skip else images
        assert x is not None
        out = Epilogue(c, self.axis_name, name="b4")(x, images if skip else None)
        if not c.num_classes:
            return out[:, 0]
        embedded = Mapping(width[4], c.d_mapping_layers, c.num_classes, w_avg=False, name="mapping")(None, labels)
        return (out * embedded).sum(-1) / math.sqrt(width[4])


def minibatch_stddev(x: jax.Array, group: int, axis_name: str | None = None) -> jax.Array:
    """`[N, H, W, C]` -> `[N, H, W, 1]`: the deviation of each feature within the example's group, averaged over features.

    With N examples in n = N / group groups, examples i and i + n are in one group, as in the ADA code. Over a mapped axis
    the groups are those of the global batch.
    """
    batch = x if axis_name is None else jax.lax.all_gather(x, axis_name, tiled=True)
    size = min(group, batch.shape[0])
    if batch.shape[0] % size:
        raise ValueError(f"a batch of {batch.shape[0]} does not fall into groups of {size}; change train.batch")
    grouped = batch.reshape(size, -1, *batch.shape[1:])
    spread = jnp.sqrt(jnp.square(grouped - grouped.mean(0, keepdims=True)).mean(0) + 1e-8)
    value = jnp.tile(spread.mean((1, 2, 3)), size)
    if axis_name is not None:
        value = jax.lax.dynamic_slice_in_dim(value, jax.lax.axis_index(axis_name) * x.shape[0], x.shape[0])
    return jnp.broadcast_to(value[:, None, None, None], (*x.shape[:3], 1))
