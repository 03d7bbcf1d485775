"""The discriminator of R3GAN, the mirror image of its generator."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.config import R3GANConfig
from gan_jax.nets.layers import Conv, Embed, at_least_float32, needed
from gan_jax.nets.r3gan import Residual, dtype_at, fan_in, stages, transition
from gan_jax.nets.resample import downsample


class DStage(nn.Module):
    """Features at `r` px -> features at half of it (the same, at 4 px): the blocks, then the transition."""

    config: R3GANConfig
    r: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        all_stages, dtype = stages(self.config), dtype_at(self.config, self.r)
        x = x.astype(dtype)
        for i in range(all_stages[self.r].blocks):
            x = Residual(self.config, self.r, name=f"res{i}")(x)
        return x if self.r == 4 else transition(downsample(x), all_stages[self.r // 2].width, dtype)


class Head(nn.Module):
    """`[N, 4, 4, C]` -> `[N, features]`: each channel against its learned map, then a dense layer without bias."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        basis = self.param("basis", fan_in(), (4, 4, 1, x.shape[-1]))  # the kernel of a depthwise convolution
        kernel = self.param("kernel", fan_in(), (x.shape[-1], self.features))
        return jnp.einsum("nhwc,hwc->nc", x, basis[:, :, 0]) @ kernel


class Discriminator(nn.Module):
    """Images `[N, r, r, channels]` in [-1, 1], labels `[N]` or None -> logits `[N]` float32; above 0 means real.

    With classes, the features are multiplied with the embedding of the label and summed.
    """

    config: R3GANConfig

    @nn.compact
    def __call__(self, images: jax.Array, labels: jax.Array | None = None, train: bool = False) -> jax.Array:
        c, all_stages = self.config, stages(self.config)
        options = {"bias": False, "init_kernel": fan_in(), "dtype": dtype_at(c, c.resolution)}
        x = Conv(features=all_stages[c.resolution].width, size=1, name="from_rgb", **options)(images)
        for r in reversed(all_stages):
            x = DStage(c, r, name=f"b{r}")(x)
        out = Head(d_embed(c) if c.num_classes else 1, name="head")(at_least_float32(x))
        if not c.num_classes:
            return out[:, 0]
        init = nn.initializers.normal((c.num_classes * d_embed(c)) ** -0.5)
        table = Embed(num_classes=c.num_classes, features=d_embed(c), init_kernel=init, name="embed")
        return (out * table(needed(labels))).sum(-1)


def d_embed(config: R3GANConfig) -> int:
    """Returns the size of D's class embedding."""
    return config.widths[0] if config.d_embed is None else config.d_embed
