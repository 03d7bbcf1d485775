"""The discriminator of BigGAN: blocks named by the size that they read, sums over positions, a projection on classes."""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax

from gan_jax.config import BigGANConfig, ConfigError
from gan_jax.nets.attention import Attention
from gan_jax.nets.biggan import INITS, multipliers
from gan_jax.nets.conv import downsample_mean
from gan_jax.nets.layers import Columns, Conv, Dense, at_least_float32, needed


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
