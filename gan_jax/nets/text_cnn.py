"""Convolutions over the tokens of texts (Kim, 2014), with a highway layer (Srivastava et al., 2015), for discriminators."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.nets.attention import dropped
from gan_jax.nets.layers import Dense, Initializer


def around_zero(key: jax.Array, shape: tuple[int, ...], dtype: Any = float) -> jax.Array:
    """Values of new tables, uniform from -1 to 1."""
    return jax.random.uniform(key, shape, dtype, -1.0, 1.0)


class Filters(nn.Module):
    """The largest answers of filters to a text: `[B, T, ..., E]`, mask `[B, T]` -> `[B, ..., features]`, after a ReLU.

    A filter reads `size` tokens that follow each other. Of a text with fewer it reads what is there, and zeros.
    """

    size: int
    features: int
    init_kernel: Initializer
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        length, inner = x.shape[1], (1,) * (x.ndim - 3)
        kernel = self.param("kernel", self.init_kernel, (self.size, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        dtype = self.dtype or kernel.dtype
        x = jnp.where(mask.reshape(*mask.shape, *inner, 1), x, jnp.zeros((), x.dtype)).astype(dtype)
        behind = lambda values: jnp.pad(values, ((0, 0), (0, self.size - 1), *((0, 0),) * (values.ndim - 2)))
        padded, real = behind(x), behind(mask)
        windows = jnp.concatenate([padded[:, i : i + length] for i in range(self.size)], -1)
        answers = windows @ kernel.astype(dtype).reshape(-1, self.features)
        answers = nn.relu(answers + bias.astype(dtype).reshape((1,) * (answers.ndim - 1) + (-1,)))
        first = jnp.cumsum(mask, 1) == 1
        whole = jnp.stack([real[:, i : i + length] for i in range(self.size)]).all(0)
        counts = mask & (whole | first)  # the first reads beyond the end of a short text, and is then the only one
        return jnp.where(counts.reshape(*mask.shape, *inner, 1), answers, jnp.zeros((), dtype)).max(1)


class Highway(nn.Module):
    """`[B, ..., W]` -> the same: a share of a ReLU layer, the rest passes; at first little is changed."""

    init_kernel: Initializer
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        gate = Dense(features=width, init_kernel=self.init_kernel, dtype=self.dtype, name="gate")(x)
        change = Dense(features=width, init_kernel=self.init_kernel, dtype=self.dtype, name="change")(x)
        share = nn.sigmoid(gate - 2)
        return share * nn.relu(change) + (1 - share) * x


def read_by_filters(config: Any, x: jax.Array, mask: jax.Array, init: Initializer, keys: jax.Array | None) -> jax.Array:
    """What D's filters of all sizes answer to a text, through a highway layer: `[B, T, ..., E]` -> `[B, ..., F]`.

    Its modules are those of the module that calls it. With `keys [B]` a share `config.d_dropout` of the values is dropped.
    """
    sizes = [Filters(size, number, init, config.dtype, name=f"filters{size}") for size, number in config.d_filters]
    h = jnp.concatenate([read(x, mask) for read in sizes], -1)
    return dropped(Highway(init, config.dtype, name="highway")(h), config.d_dropout, keys, 0)
