"""BigGAN (Brock et al., 2019) in the form of its published PyTorch implementation."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.config import BigGANConfig, ConfigError
from gan_jax.nets.build import Pair, example_inputs, make_net, projection_head
from gan_jax.nets.conv import downsample_mean, upsample_nearest
from gan_jax.nets.layers import (
    Attention,
    Columns,
    Conv,
    Dense,
    Embed,
    Initializer,
    Norm,
    at_least_float32,
    needed,
    standardised,
    xavier,
)

# ----------------------------------------------------------------------------------------------------------------------
# The generator.
#
# The latents may be cut into equal parts: the first makes the 4 px maps, and the norms of each block read one more part. With
# classes, the norms read y, the shared class embedding and then that part: `gain = 1 + W_g y`, `bias = W_b y`. Without
# classes they read the part of the latents alone; without either they are plain batch norms. All kernels are divided by their
# largest singular value; evaluation estimates it by one more power iteration from the stored vector.
#
# A block is named by the resolution that it writes; attention belongs to the block that it follows.

# resolution -> (width multipliers of G's maps from 4 px upwards, of D's blocks from the image downwards); those of
# 16 px are by analogy
PUBLISHED: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {
    16: ((16, 16, 8), (4, 8, 16)),
    32: ((4, 4, 4, 4), (4, 4, 4, 4)),
    64: ((16, 16, 8, 4, 2), (1, 2, 4, 8, 16)),
    128: ((16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16)),
    256: ((16, 16, 8, 8, 4, 2, 1), (1, 2, 4, 8, 8, 16, 16)),
    512: ((16, 16, 8, 8, 4, 2, 1, 1), (1, 1, 2, 4, 8, 8, 16, 16)),
}
INITS: dict[str, Initializer] = {
    "orthogonal": nn.initializers.orthogonal(),
    "normal": nn.initializers.normal(0.02),
    "xavier": xavier(),
}


def multipliers(config: BigGANConfig, net: int) -> tuple[int, ...]:
    """Returns the width multipliers of G (0) or D (1): those of the configuration, or the published ones."""
    configured = (config.g_multipliers, config.d_multipliers)[net]
    if configured is not None:
        return configured
    if config.resolution not in PUBLISHED:
        raise ConfigError(
            f"no published BigGAN has {config.resolution} px; give net.g_multipliers and net.d_multipliers, or one of "
            f"{', '.join(map(str, PUBLISHED))} px"
        )
    return PUBLISHED[config.resolution][net]


def widths(config: BigGANConfig) -> dict[int, int]:
    """Returns G's channels at every resolution from 4 px."""
    sizes = [2**i for i in range(2, config.resolution.bit_length())]
    factors = multipliers(config, 0)
    if len(factors) != len(sizes):
        raise ConfigError(
            f"net.g_multipliers {list(factors)} are {len(factors)} numbers; {config.resolution} px needs {len(sizes)}, "
            "from 4 px upwards"
        )
    return {r: factor * config.width for r, factor in zip(sizes, factors)}


def chunk(config: BigGANConfig) -> int:
    """Returns the size of a part of the latents; 0 if they are not cut."""
    slots = len(widths(config))
    if config.hierarchical and config.z_dim % slots:
        raise ConfigError(
            f"net.z_dim {config.z_dim} does not fall into {slots} equal parts, one for the first layer and one for each "
            f"block; use a multiple of {slots}, or net.hierarchical False"
        )
    if config.hierarchical and config.num_classes and not config.shared_dim:
        raise ConfigError("net.shared_dim 0 puts a table of classes into each norm; set net.hierarchical False too")
    return config.z_dim // slots if config.hierarchical else 0


def modulation(config: BigGANConfig) -> tuple[int, int]:
    """Returns how many values of (class embedding, latents) a norm in G's blocks reads."""
    return (config.shared_dim if config.num_classes else 0), chunk(config)


class ModulatedNorm(nn.Module):
    """Batch norm whose gain and bias come from vectors `y [N, K]`, from a table of classes, or are plain parameters.

    Input `[N, H, W, C]`. If `y` is None: a table of `num_classes` rows read by `labels [N]`, or without classes one row.
    """

    config: BigGANConfig
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array, y: jax.Array | None, labels: jax.Array | None, train: bool) -> jax.Array:
        c, features = self.config, x.shape[-1]
        if y is not None:
            options = {"spectral": c.g_spectral, "refine": True, "init_kernel": INITS[c.init]}
            dense = lambda name: Dense(features=features, bias=False, name=name, **options)(y, train)
            gain, bias = dense("gain"), dense("bias")
        else:
            shape = (c.num_classes, features) if c.num_classes else (features,)
            index = needed(labels) if c.num_classes else None
            # all gains start at 1, which a spectrally normalised layer, never zero, could not do
            gain, bias = (self.param(name, nn.initializers.zeros, shape)[index] for name in ("gain", "bias"))
        scaled = standardised(self, x, train, self.axis_name) * (1 + gain)[:, None, None, :]
        return (scaled + bias[:, None, None, :]).astype(x.dtype)


class GBlock(nn.Module):
    """norm-relu-up-conv-norm-relu-conv plus up-conv1x1, perhaps attention: `[N, r/2, r/2, I]` -> `[N, r, r, features]`."""

    features: int
    attends: bool
    config: BigGANConfig
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array, y: jax.Array | None, labels: jax.Array | None, train: bool) -> jax.Array:
        c = self.config
        options = {"spectral": c.g_spectral, "init_kernel": INITS[c.init], "dtype": c.dtype}
        conv = lambda name, size=3: Conv(features=self.features, size=size, refine=True, name=name, **options)

        def norm(name: str, h: jax.Array) -> jax.Array:
            return nn.relu(ModulatedNorm(c, self.axis_name, name=name)(h, y, labels, train))

        h = conv("conv0")(upsample_nearest(norm("norm0", x)), train)
        h = conv("conv1")(norm("norm1", h), train)
        h += upsample_nearest(conv("skip", 1)(x, train))  # a 1x1 convolution commutes with repetition
        return Attention(**options, name="attention")(h, train) if self.attends else h


class Generator(nn.Module):
    """Latents `z [N, z_dim]`, labels `[N]` or None -> images `[N, r, r, channels]` float32 in [-1, 1]."""

    config: BigGANConfig
    axis_name: str | None = None

    @nn.compact
    def __call__(self, z: jax.Array, labels: jax.Array | None = None, train: bool = False) -> jax.Array:
        c, width, part = self.config, widths(self.config), chunk(self.config)
        options = {"spectral": c.g_spectral, "init_kernel": INITS[c.init], "refine": True}
        z = at_least_float32(z)
        parts = [z[:, i : i + part] for i in range(0, c.z_dim, part)] if part else [z] + [z[:, :0]] * (len(width) - 1)
        embedded = z[:, :0]
        if c.num_classes and c.shared_dim:
            table = Embed(num_classes=c.num_classes, features=c.shared_dim, init_kernel=INITS[c.init], name="shared")
            embedded = table(needed(labels))
        h = Dense(features=16 * width[4], dtype=c.dtype, name="stem", **options)(parts[0], train)
        h = h.reshape(-1, 4, 4, width[4])
        for (r, features), latents in zip(list(width.items())[1:], parts[1:], strict=True):
            y = jnp.concatenate([embedded, latents], axis=-1) if sum(modulation(c)) else None
            h = GBlock(features, r in c.attention, c, self.axis_name, name=f"b{r}")(h, y, labels, train)
        h = nn.relu(Norm(axis_name=self.axis_name, name="to_rgb_norm")(at_least_float32(h), train=train))
        return jnp.tanh(Conv(features=c.channels, name="to_rgb", **options)(h, train))


def make(config: BigGANConfig, axis_name: str | None) -> Pair:
    """The pair of a configuration, batch statistics synchronised over the axis."""
    g, d = example_inputs(config)
    nets = make_net(Generator(config, axis_name), g), make_net(Discriminator(config), d)
    g_blocks = ("stem", *(f"b{r}" for r in list(widths(config))[1:]))
    return Pair(*nets, config, tuple(stage.name for stage in stages(config)), g_blocks, projection_head(config))


_CIFAR = BigGANConfig(
    *(32, 3, 10, 128, 64), hierarchical=False, shared_dim=0, attention=(), init="normal"
)  # resolution, channels, classes, z, width
_IMAGENET = BigGANConfig(num_classes=1000, dtype="bfloat16")
PRESETS: dict[
    str, BigGANConfig
] = {  # ImageNet's of the paper, parts of 20 latents; CIFAR's of the PyTorch implementation
    "cifar10": _CIFAR,
    "cifar100": dataclasses.replace(_CIFAR, num_classes=100),
    "imagenet128": _IMAGENET,
    "imagenet256": dataclasses.replace(_IMAGENET, resolution=256, z_dim=140),
    "imagenet512": dataclasses.replace(_IMAGENET, resolution=512, z_dim=160),
}


# ----------------------------------------------------------------------------------------------------------------------
# The discriminator: blocks named by the size that they read, sums over positions, a projection on classes.


class Stage(NamedTuple):
    """A block of D: its name, the channels of its input, hidden layer and output, and what else it does."""

    name: str
    reads: int
    hidden: int
    features: int
    down: bool
    first: bool  # whether it reads the image, which must not pass a ReLU
    attends: bool

    @property
    def has_skip(self) -> bool:
        """Whether the shortcut is a convolution; otherwise it is the identity."""
        return self.down or self.reads != self.features


def stages(config: BigGANConfig) -> list[Stage]:
    """Returns the blocks of D from the image downwards; extra blocks at the last size are named `b4_more0` and so on.

    Raises:
      ConfigError: too few multipliers, a last size that halving does not reach, or attention after an unknown block.
    """
    r, factors, blocks = config.resolution, multipliers(config, 1), []
    last = config.d_size if config.d_size is not None else 8 if r == 32 else 4
    halvings = r.bit_length() - last.bit_length()
    if last < 1 or last << max(halvings, 0) != r or halvings > len(factors):
        raise ConfigError(
            f"net.d_multipliers {list(factors)} are {len(factors)} blocks, which do not lead from {r} px to net.d_size "
            f"{last}; use one number for each halving, and one for each block after them"
        )
    read = config.channels
    for i, factor in enumerate(factors):
        down, features = i < halvings, factor * config.width
        name = f"b{r}" if i <= halvings else f"b{r}_more{i - halvings - 1}"
        r = r // 2 if down else r
        attends = r in config.attention if config.d_attention is None else name in config.d_attention
        hidden = features if config.d_wide else read
        blocks.append(Stage(name, read, hidden, features, down, i == 0, attends))
        read = features
    names = [stage.name for stage in blocks]
    if unknown := [name for name in config.d_attention or () if name not in names]:
        raise ConfigError(f"net.d_attention {unknown[0]!r} is no block of D; they are {', '.join(names)}")
    return blocks


class DBlock(nn.Module):
    """relu-conv-relu-conv-pool plus pool-conv1x1: `[N, r, r, I]` -> `[N, r/2, r/2, features]`, or r if not `down`."""

    stage: Stage
    config: BigGANConfig

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        s, c = self.stage, self.config
        options = {"spectral": True, "init_kernel": INITS[c.init], "dtype": c.dtype}
        conv = lambda name, features, size=3: Conv(features=features, size=size, refine=True, name=name, **options)
        halved = downsample_mean if s.down else lambda y: y
        h = conv("conv0", s.hidden)(x if s.first else nn.relu(x), train)
        h = halved(conv("conv1", s.features)(nn.relu(h), train))
        skip = halved(x)  # a 1x1 convolution commutes with means
        h += conv("skip", s.features, 1)(skip, train) if s.has_skip else skip
        return Attention(**options, name="attention")(h, train) if s.attends else h


class Discriminator(nn.Module):
    """Images `[N, r, r, channels]` in [-1, 1], labels `[N]` or None -> logits `[N]` float32; above 0 means real."""

    config: BigGANConfig

    @nn.compact
    def __call__(self, images: jax.Array, labels: jax.Array | None = None, train: bool = False) -> jax.Array:
        c, init = self.config, INITS[self.config.init]
        h = images.astype(c.dtype)
        for stage in stages(c):
            h = DBlock(stage, c, name=stage.name)(h, train)
        features = at_least_float32(nn.relu(h)).sum(axis=(1, 2))
        logits = Dense(features=1, spectral=True, refine=True, init_kernel=init, name="head")(features, train)[:, 0]
        if c.num_classes:
            options = {"spectral": True, "refine": True, "init_kernel": init}
            table = Columns(
                num_classes=c.num_classes, features=features.shape[-1], gain=c.d_gain, name="embed", **options
            )
            logits += (table(needed(labels), train) * features).sum(-1)
        return logits
