"""pix2pix's U-Net (Isola et al., 2017): an encoder and a decoder whose maps of one size are joined.

`down1` halves the image, `down2` the map of `down1`, and so on; `up8` doubles the map of `down8`, and `up7` what `up8` made
beside the map of `down7`. `to_rgb` makes the image. Kernels of the decoder are stored in two parts: `up7/conv` reads what
`up8` made, and `up7/skip` the map of `down7`.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.config import UNetConfig
from gan_jax.nets import patchgan
from gan_jax.nets.build import Pair, example_inputs, make_net
from gan_jax.nets.layers import ConvNorm, at_least_float32, drop_half, gan_init

LARGEST = 8  # times the width


def widths(config: UNetConfig) -> list[int]:
    """Returns the channels of the encoder's maps, from the largest map on."""
    return [config.width * min(2**i, LARGEST) for i in range(config.depth)]


class Generator(nn.Module):
    """Images `[N, H, W, in_channels]` in [-1, 1] -> images `[N, H, W, channels]` float32 in [-1, 1].

    With `train` and `keys [N]`, half of the values are dropped behind `up5` and the layers below it, but for the lowest.
    """

    config: UNetConfig
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: jax.Array, labels: jax.Array | None = None, train: bool = False, keys: jax.Array | None = None
    ) -> jax.Array:
        c, width = self.config, widths(self.config)
        lowest = c.depth

        def layer(name: str, features: int, up: bool, norm: str, reads: int = 0) -> ConvNorm:
            """A layer; `reads` are the channels of what it reads where that is two maps."""
            return ConvNorm(
                features, 4, 2, up=up, norm=norm, affine=c.affine, dtype=c.dtype,
                init_kernel=gan_init(c.init, 16, reads + features) if reads else gan_init(c.init),
                bias=c.norm == "instance" or name == "to_rgb", axis_name=self.axis_name, beside="skip", name=name,
            )  # fmt: skip

        maps = [layer("down1", width[0], False, "none")(x, train)]
        for i in range(2, lowest + 1):
            norm = c.norm if i < lowest else "none"  # the lowest map may be of one pixel
            maps.append(layer(f"down{i}", width[i - 1], False, norm)(nn.leaky_relu(maps[-1], 0.2), train))
        h = layer(f"up{lowest}", width[-2], True, c.norm)(nn.relu(maps.pop()), train)
        for i in range(lowest - 1, 1, -1):
            read = layer(f"up{i}", width[i - 2], True, c.norm, 2 * width[i - 1])
            h = read(nn.relu(h), train, nn.relu(maps.pop()))
            if c.dropout and train and i >= 5:
                h = drop_half(h, keys, i)
        to_rgb = layer("to_rgb", c.channels, True, "none", 2 * width[0])
        return jnp.tanh(at_least_float32(to_rgb(nn.relu(h), train, nn.relu(maps.pop()))))


def make(config: UNetConfig, axis_name: str | None) -> Pair:
    """The pair of a configuration, batch statistics synchronised over the axis."""
    x, images = example_inputs(config)
    g = make_net(Generator(config, axis_name), x, draws=True)
    d = make_net(patchgan.Discriminator(config, axis_name), images)
    levels = range(1, config.depth + 1)
    g_blocks = (*(f"down{i}" for i in levels), *(f"up{i}" for i in reversed(levels[1:])))
    return Pair(g, d, config, patchgan.blocks(config), g_blocks, ("head",), examples_mix=config.batch_norm_in_d)
