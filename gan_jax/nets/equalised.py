"""Layers with an equalised learning rate (Karras et al., 2018): weights are stored N(0, 1) and scaled when used.

The effective weight is the stored one times `lr_mul / sqrt(fan_in)`. Adam moves all stored weights at one speed, and so all
layers at one relative speed. A leaky ReLU of slope 0.2 is followed by a gain of sqrt(2), which keeps the variance.
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.nets.conv import conv
from gan_jax.nets.resample import conv_down3, downsample

NORMAL = nn.initializers.normal(1.0)


def lrelu(x: jax.Array, gain: float = 1.0, clamp: float | None = None) -> jax.Array:
    """Applies leaky ReLU times sqrt(2) times `gain`, clipped at +- `clamp * gain` as a guard for half precision."""
    x = nn.leaky_relu(x, 0.2) * jnp.asarray(math.sqrt(2) * gain, x.dtype)
    return x if clamp is None else jnp.clip(x, -clamp * gain, clamp * gain)


def unit_rms(x: jax.Array) -> jax.Array:
    """Scales rows to root mean square 1: `[N, C]` -> `[N, C]`."""
    return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-8)


class Dense(nn.Module):
    """`[..., I]` -> `[..., features]`."""

    features: int
    lr_mul: float = 1.0
    bias_init: float = 0.0
    activate: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        wide = nn.initializers.normal(1.0 / self.lr_mul)
        kernel = self.param("kernel", wide, (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.constant(self.bias_init / self.lr_mul), (self.features,))
        dtype = self.dtype or kernel.dtype
        y = x.astype(dtype) @ (kernel * (self.lr_mul / math.sqrt(x.shape[-1]))).astype(dtype)
        y += (bias * self.lr_mul).astype(dtype).reshape((1,) * (y.ndim - 1) + (-1,))
        return lrelu(y) if self.activate else y


class Conv(nn.Module):
    """Odd-sized convolution, at the same size or, with `down`, at half: `[N, H, W, I]` -> `[N, H', W', features]`."""

    features: int
    size: int = 3
    down: bool = False
    bias: bool = True
    activate: bool = True
    clamp: float | None = None
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, gain: float = 1.0) -> jax.Array:
        kernel = self.param("kernel", NORMAL, (self.size, self.size, x.shape[-1], self.features))
        dtype = self.dtype or kernel.dtype
        w = (kernel / math.sqrt(x.shape[-1] * self.size**2)).astype(dtype)
        x = x.astype(dtype)
        if self.down:
            y = conv_down3(x, w) if self.size == 3 else conv(downsample(x), w)
        else:
            y = conv(x, w)
        if self.bias:
            y += self.param("bias", nn.initializers.zeros, (self.features,)).astype(dtype)[None, None, None, :]
        return lrelu(y, gain, self.clamp) if self.activate else y * jnp.asarray(gain, dtype)
