"""R3GAN (Huang et al., NeurIPS 2024): residual blocks with grouped convolutions, no norm, no style, no noise."""

from __future__ import annotations

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.config import R3GANConfig
from gan_jax.nets.build import Pair, example_inputs, make_net, projection_head
from gan_jax.nets.layers import Conv, Embed, Initializer, at_least_float32, needed
from gan_jax.nets.resample import downsample, upsample

# ----------------------------------------------------------------------------------------------------------------------
# The generator.
#
# G and D mirror each other. A stage is a resolution: residual blocks `res0`, `res1`, .. and, towards the neighbouring
# resolution, a `transition` (a 1x1 convolution, where the widths differ, and a FIR filter). The shortcuts are identities
# and a new block's last convolution is zero, so that a new block does not change the function.
#
# The published filter `[1, 2, 1]` is given per output pixel. Convolved with the reference's resampling box of two, it is
# `[1, 3, 3, 1]`: StyleGAN2's filter in StyleGAN2's alignment.

GAIN = math.sqrt(2 / 1.04)  # of initial weights before a leaky ReLU of slope 0.2, whose own gain is 1


@dataclasses.dataclass(frozen=True)
class Stage:
    """The layers at a resolution: channels, groups of the 3x3 convolutions, number of residual blocks."""

    width: int
    cardinality: int
    blocks: int


def stages(config: R3GANConfig) -> dict[int, Stage]:
    """Returns the stage at every resolution from 4 px; the last value of each list also applies above."""
    sizes = [2**i for i in range(2, config.resolution.bit_length())]
    lists = (config.widths, config.cardinality, config.blocks)
    return {r: Stage(*(values[min(i, len(values) - 1)] for values in lists)) for i, r in enumerate(sizes)}


def dtype_at(config: R3GANConfig, r: int) -> str:
    """Returns the compute dtype at a resolution: the configuration's at the highest resolutions, else float32.

    At 4 px it is float32. A configured dtype of at least float32 is used everywhere.
    """
    lower = jnp.dtype(config.dtype).itemsize < 4
    return "float32" if lower and r <= max(4, config.resolution >> config.low_precision) else config.dtype


def fan_in(gain: float = 1.0) -> Initializer:
    """Makes a normal initialiser with standard deviation `gain / sqrt(fan_in)`."""
    return nn.initializers.variance_scaling(gain**2, "fan_in", "normal")


class Residual(nn.Module):
    """x + 1x1, bias, leaky ReLU, grouped 3x3, bias, leaky ReLU, 1x1: `[N, H, W, C]` -> the same."""

    config: R3GANConfig
    r: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        c, all_stages = self.config, stages(self.config)
        hidden, groups = x.shape[-1] * c.expansion, all_stages[self.r].cardinality
        init = fan_in(GAIN * max(1, sum(stage.blocks for stage in all_stages.values())) ** -0.25)
        options = {"dtype": dtype_at(c, self.r), "init_kernel": init}
        y = nn.leaky_relu(Conv(features=hidden, size=1, name="conv0", **options)(x), 0.2)
        y = nn.leaky_relu(Conv(features=hidden, groups=groups, name="conv1", **options)(y), 0.2)
        last = {**options, "init_kernel": nn.initializers.zeros}
        return x + Conv(features=x.shape[-1], size=1, bias=False, name="conv2", **last)(y)


class GStage(nn.Module):
    """Features at half of `r` px (the stem's, at 4 px) -> features at `r` px: the transition, then the blocks."""

    config: R3GANConfig
    r: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        stage, dtype = stages(self.config)[self.r], dtype_at(self.config, self.r)
        x = x.astype(dtype)
        if self.r > 4:
            x = upsample(transition(x, stage.width, dtype))
        for i in range(stage.blocks):
            x = Residual(self.config, self.r, name=f"res{i}")(x)
        return x


class Stem(nn.Module):
    """Latents and class embedding `[N, I]` -> `[N, 4, 4, features]`: a learned map for each channel, scaled."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        basis = self.param("basis", nn.initializers.normal(1.0), (4, 4, self.features))
        kernel = self.param("kernel", fan_in(), (x.shape[-1], self.features))
        return (x @ kernel)[:, None, None, :] * basis[None]


class Generator(nn.Module):
    """Latents `z [N, z_dim]`, labels `[N]` or None -> images `[N, r, r, channels]` float32, unbounded: about [-1, 1]."""

    config: R3GANConfig

    @nn.compact
    def __call__(self, z: jax.Array, labels: jax.Array | None = None, train: bool = False) -> jax.Array:
        c, all_stages = self.config, stages(self.config)
        x = at_least_float32(z)
        if c.num_classes:
            init = nn.initializers.normal(c.num_classes**-0.5)
            table = Embed(num_classes=c.num_classes, features=g_embed(c), init_kernel=init, name="embed")
            x = jnp.concatenate([x, table(needed(labels))], axis=-1)
        x = Stem(all_stages[4].width, name="stem")(x)
        for r in all_stages:
            x = GStage(c, r, name=f"b{r}")(x)
        return Conv(features=c.channels, size=1, bias=False, init_kernel=fan_in(), name="to_rgb")(at_least_float32(x))


def g_embed(config: R3GANConfig) -> int:
    """Returns the size of G's class embedding."""
    return config.z_dim if config.g_embed is None else config.g_embed


def transition(x: jax.Array, features: int, dtype: str) -> jax.Array:
    """Applies a 1x1 convolution where the width changes: `[N, H, W, C]` -> `[N, H, W, features]`; for use inside a module."""
    if x.shape[-1] == features:
        return x
    return Conv(features=features, size=1, bias=False, init_kernel=fan_in(), dtype=dtype, name="transition")(x)


def make(config: R3GANConfig, axis_name: str | None) -> Pair:
    """The pair of a configuration, batch statistics synchronised over the axis."""
    g, d = example_inputs(config)
    blocks = tuple(f"b{r}" for r in reversed(stages(config)))
    nets = make_net(Generator(config), g), make_net(Discriminator(config), d)
    return Pair(*nets, config, ("from_rgb", *blocks), ("stem", *reversed(blocks)), projection_head(config))


_NARROW = R3GANConfig(dtype="bfloat16")
_WIDE = dataclasses.replace(_NARROW, widths=(1536,), cardinality=(96,))
PRESETS: dict[str, R3GANConfig] = {  # the networks of the paper; ImageNet's stay as wide at 64 px, where FFHQ's narrow
    "cifar10": dataclasses.replace(_NARROW, resolution=32, num_classes=10),
    "ffhq64": dataclasses.replace(_NARROW, resolution=64),
    "ffhq256": dataclasses.replace(_NARROW, resolution=256),
    "imagenet32": dataclasses.replace(_WIDE, resolution=32, num_classes=1000),
    "imagenet64": dataclasses.replace(_WIDE, resolution=64, num_classes=1000),
}


# ----------------------------------------------------------------------------------------------------------------------
# The discriminator, the mirror image of the generator.


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
