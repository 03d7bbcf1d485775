"""Fully connected pair: images of any size as flat vectors, or points.

Layers are named `fc0`, `fc1`, .. from the input on, as they have no resolution. A deeper net has its new layers last, so
that growth never renames. Labels enter G as a one-hot vector next to the latents: equivalently, a row per class is added to
the first layer's output. D projects on the class.
"""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.config import MLPConfig
from gan_jax.nets.build import Pair, example_inputs, make_net, projection_head
from gan_jax.nets.layers import Dense, Embed, Initializer, at_least_float32, needed


def he(slope: float) -> Initializer:
    """Makes an initialiser that keeps the variance through leaky ReLUs of this slope (He et al., 2015)."""
    return nn.initializers.variance_scaling(2 / (1 + slope**2), "fan_in", "normal")


class Generator(nn.Module):
    """Latents `z [N, z_dim]`, labels `[N]` or None -> images `[N, r, r, channels]` float32, in [-1, 1] if bounded."""

    config: MLPConfig

    @nn.compact
    def __call__(self, z: jax.Array, labels: jax.Array | None = None, train: bool = False) -> jax.Array:
        c, rows = self.config, None
        if c.num_classes:
            table = Embed(num_classes=c.num_classes, features=c.g_widths[0], dtype=c.dtype, name="embed")
            rows = table(needed(labels))
        h = hidden(z, c.g_widths, c.g_slope, c.dtype, rows)
        h = Dense(features=c.resolution**2 * c.channels, dtype=c.dtype, name="to_rgb")(h)
        images = at_least_float32(h).reshape(-1, c.resolution, c.resolution, c.channels)
        return jnp.tanh(images) if c.bounded else images


class Discriminator(nn.Module):
    """Images `[N, r, r, channels]`, labels `[N]` or None -> logits `[N]` float32; above 0 means real."""

    config: MLPConfig

    @nn.compact
    def __call__(self, images: jax.Array, labels: jax.Array | None = None, train: bool = False) -> jax.Array:
        c = self.config
        features = at_least_float32(hidden(images.reshape(len(images), -1), c.d_widths, c.d_slope, c.dtype))
        logits = Dense(features=1, name="head")(features)[:, 0]
        if c.num_classes:
            table = Embed(num_classes=c.num_classes, features=c.d_widths[-1], name="embed")
            logits += (table(needed(labels)) * features).sum(-1)
        return logits


def hidden(
    h: jax.Array, widths: Sequence[int], slope: float, dtype: str, embedded: jax.Array | None = None
) -> jax.Array:
    """Applies the layers `fc0`, `fc1`, .. inside the calling module: `[N, I]` -> `[N, widths[-1]]`.

    Args:
      h: input.
      widths: widths of the layers.
      slope: slope of the leaky ReLU after each layer.
      dtype: compute dtype.
      embedded: rows `[N, widths[0]]` added to the first layer's output; None = none.
    """
    for i, width in enumerate(widths):
        h = Dense(features=width, init_kernel=he(slope), dtype=dtype, name=f"fc{i}")(h)
        h = h + embedded.astype(h.dtype) if i == 0 and embedded is not None else h
        h = nn.leaky_relu(h, slope)
    return h


def make(config: MLPConfig, axis_name: str | None) -> Pair:
    """The pair of a configuration, batch statistics synchronised over the axis."""
    g, d = example_inputs(config)
    nets = make_net(Generator(config), g), make_net(Discriminator(config), d)
    named = lambda widths: tuple(f"fc{i}" for i in range(len(widths)))
    return Pair(*nets, config, named(config.d_widths), named(config.g_widths), projection_head(config))
