"""Layers shared by the families: spectral norm, synchronised batch norm, self-attention, equalised learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.nets.conv import conv
from gan_jax.nets.resample import conv_down3, downsample

# ----------------------------------------------------------------------------------------------------------------------
# Convolutions and dense layers with spectral norm, and synchronised batch norm.

Initializer = Callable[..., jax.Array]
MOMENTUM = 0.9  # of running batch statistics


def xavier(gain: float = 1.0) -> Initializer:
    """Glorot's uniform initialiser with a gain on the standard deviation."""
    return nn.initializers.variance_scaling(gain**2, "fan_avg", "uniform")


class _Weighted(nn.Module):
    """A kernel, optionally divided by its largest singular value (Miyato et al., 2018).

    A training call runs one power iteration; its vector `u [O]` is the only state, in collection `spectral`. The kernel is
    read as the matrix `[kh * kw * I, O]`. The layer computes in `dtype`; None = that of its parameters.
    With `refine`, evaluation also runs a power iteration from the stored vector, and discards its result.
    With `stored`, the left vector `v [kh * kw * I]` is state too, and evaluation uses both vectors unchanged.
    """

    spectral: bool = False
    init_kernel: Initializer = xavier()
    dtype: Any = None
    refine: bool = False
    stored: bool = False

    def weight(self, name: str, shape: tuple[int, ...], train: bool) -> jax.Array:
        kernel = self.param(name, self.init_kernel, shape)
        dtype = self.dtype or kernel.dtype
        if not self.spectral:
            return kernel.astype(dtype)
        matrix = kernel.reshape(-1, shape[-1])
        u = self.variable("spectral", "u", lambda: _unit(jax.random.normal(self.make_rng("params"), shape[-1:])))
        fixed = jax.lax.stop_gradient(matrix)
        v = _unit(fixed @ u.value)
        right = _unit(v @ fixed) if train or self.refine else u.value
        if self.stored:
            v_state = self.variable("spectral", "v", lambda: v)
            if train and not self.is_initializing():
                v_state.value = v
            v = v_state.value
        if train and not self.is_initializing():
            u.value = right
        sigma = v @ (matrix @ right)
        if self.stored:  # stored vectors that do not match may make sigma negative
            return (kernel / jnp.where(jnp.abs(sigma) < 1e-12, 1e-12, sigma)).astype(dtype)
        return (kernel / jnp.maximum(sigma, 1e-12)).astype(dtype)


class Conv(_Weighted):
    """Stride-1 convolution of odd size, same padding: `[N, H, W, I]` -> `[N, H, W, features]`."""

    features: int = 1
    size: int = 3
    bias: bool = True
    groups: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        kernel = self.weight("kernel", (self.size, self.size, x.shape[-1] // self.groups, self.features), train)
        y = conv(x.astype(kernel.dtype), kernel, groups=self.groups)
        if self.bias:
            y += self.param("bias", nn.initializers.zeros, (self.features,)).astype(y.dtype)[None, None, None, :]
        return y


class Dense(_Weighted):
    """`[..., I]` -> `[..., features]`."""

    features: int = 1
    bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        kernel = self.weight("kernel", (x.shape[-1], self.features), train)
        y = x.astype(kernel.dtype) @ kernel
        if self.bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,)).astype(y.dtype)
            y += bias.reshape((1,) * (y.ndim - 1) + (-1,))
        return y


class Embed(_Weighted):
    """Labels `[N] int32` -> rows `[N, features]` of a table `[num_classes, features]`, times a learned `gain []`.

    A table under spectral norm cannot be zero, but its gain can: growth starts it at zero.
    """

    num_classes: int = 1
    features: int = 1
    gain: bool = False

    @nn.compact
    def __call__(self, labels: jax.Array, train: bool = False) -> jax.Array:
        rows = self.weight("embedding", (self.num_classes, self.features), train)[labels]
        return rows * self.param("gain", nn.initializers.ones, ()).astype(rows.dtype) if self.gain else rows


class Columns(_Weighted):
    """`Embed` with a kernel `[features, num_classes]`, whose singular vector is on the side of the classes."""

    num_classes: int = 1
    features: int = 1
    gain: bool = False

    @nn.compact
    def __call__(self, labels: jax.Array, train: bool = False) -> jax.Array:
        rows = self.weight("kernel", (self.features, self.num_classes), train).T[labels]
        return rows * self.param("gain", nn.initializers.ones, ()).astype(rows.dtype) if self.gain else rows


class Norm(nn.Module):
    """Batch norm over all devices of `axis_name`, with per-class scale and bias where `num_classes` > 0.

    Input `[N, H, W, C]`. Statistics are at least float32 for every compute dtype, biased, and averaged with
    `MOMENTUM` into collection `batch_stats`.
    """

    num_classes: int = 0
    axis_name: str | None = None
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array, labels: jax.Array | None = None, train: bool = False) -> jax.Array:
        shape = (self.num_classes, x.shape[-1]) if self.num_classes else x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        index = needed(labels) if self.num_classes else None  # a row for each example, or one for all
        scale, bias = scale[index][:, None, None, :], bias[index][:, None, None, :]
        return (standardised(self, x, train, self.axis_name, self.epsilon) * scale + bias).astype(x.dtype)


def standardised(
    module: nn.Module, x: jax.Array, train: bool, axis_name: str | None, epsilon: float = 1e-5
) -> jax.Array:
    """Normalises `[N, H, W, C]` to mean 0 and variance 1 in each channel, at least float32; for use inside a norm module.

    Training uses the batch's statistics over all devices of `axis_name`, and averages them with `MOMENTUM` into the
    module's collection `batch_stats`, which evaluation uses.

    The statistics take two passes, the second around the mean of the first, so that a mean much larger than the deviation
    costs no precision. This centre is a constant to the gradient, since the result does not depend on it.
    """
    features, wide = x.shape[-1], at_least_float32(x)
    mean = module.variable("batch_stats", "mean", jnp.zeros, (features,))
    var = module.variable("batch_stats", "var", jnp.ones, (features,))
    spread = lambda row: row[None, None, None, :]
    if train:
        local = axis_name is None or module.is_initializing()
        over = lambda values: values if local else jax.lax.pmean(values, axis_name)
        centre = jax.lax.stop_gradient(over(wide.mean((0, 1, 2))))
        wide -= spread(centre)
        # The rest is the rounding error of the first mean.
        rest, square = over((wide.mean((0, 1, 2)), jnp.square(wide).mean((0, 1, 2))))
        v = jnp.maximum(square - jnp.square(rest), 0.0)
        wide -= spread(rest)
        if not module.is_initializing():
            mean.value += (1 - MOMENTUM) * (centre + rest - mean.value)
            var.value += (1 - MOMENTUM) * (v - var.value)
    else:
        wide, v = wide - spread(mean.value), var.value
    return wide * spread(jax.lax.rsqrt(v + epsilon))


def at_least_float32(x: jax.Array) -> jax.Array:
    """Casts half precision to float32; wider dtypes stay."""
    return x if x.dtype.itemsize >= 4 else x.astype(jnp.float32)


def needed(labels: jax.Array | None) -> jax.Array:
    """Returns the labels; raises ValueError if there are none."""
    if labels is None:
        raise ValueError("a conditional network needs labels [N] int32, one for each example; it was given none")
    return labels


def _unit(vector: jax.Array) -> jax.Array:
    return vector / jnp.maximum(jnp.linalg.norm(vector), 1e-12)


# ----------------------------------------------------------------------------------------------------------------------
# Self-attention over the positions of a feature map.


class Attention(nn.Module):
    """Computes x + gamma * attention over all positions: `[N, H, W, C]` -> the same (Zhang et al., SAGAN, 2019).

    Keys and values are max-pooled to half the height and width. Scores are not divided by the root of the key size.
    """

    spectral: bool
    init_kernel: Initializer
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        n, h, w, c = x.shape
        options = {"spectral": self.spectral, "init_kernel": self.init_kernel, "dtype": self.dtype}
        conv = lambda name, features: Conv(features=features, size=1, bias=False, refine=True, name=name, **options)

        def pooled(y: jax.Array) -> jax.Array:
            return y.reshape(n, h // 2, 2, w // 2, 2, -1).max((2, 4)).reshape(n, h * w // 4, -1)

        key_size, value_size = attention_widths(c)
        query = conv("theta", key_size)(x, train).reshape(n, h * w, -1)
        key = pooled(conv("phi", key_size)(x, train))
        value = pooled(conv("g", value_size)(x, train))
        logits = jnp.einsum("nqc,nkc->nqk", at_least_float32(query), at_least_float32(key))
        attended = jnp.einsum("nqk,nkc->nqc", jax.nn.softmax(logits, axis=-1).astype(value.dtype), value)
        y = conv("o", c)(attended.reshape(n, h, w, -1), train)
        return x + self.param("gamma", nn.initializers.zeros, ()).astype(x.dtype) * y


def attention_widths(features: int) -> tuple[int, int]:
    """Returns the widths (keys, values): an eighth and a half of the channels, at least one."""
    return max(1, features // 8), max(1, features // 2)


# ----------------------------------------------------------------------------------------------------------------------
# Layers with an equalised learning rate (Karras et al., 2018): weights are stored N(0, 1) and scaled when used.
#
# The effective weight is the stored one times `lr_mul / sqrt(fan_in)`. Adam moves all stored weights at one speed, and so all
# layers at one relative speed. A leaky ReLU of slope 0.2 is followed by a gain of sqrt(2), which keeps the variance.

NORMAL = nn.initializers.normal(1.0)


def lrelu(x: jax.Array, gain: float = 1.0, clamp: float | None = None) -> jax.Array:
    """Applies leaky ReLU times sqrt(2) times `gain`, clipped at +- `clamp * gain` as a guard for half precision."""
    x = nn.leaky_relu(x, 0.2) * jnp.asarray(math.sqrt(2) * gain, x.dtype)
    return x if clamp is None else jnp.clip(x, -clamp * gain, clamp * gain)


def unit_rms(x: jax.Array) -> jax.Array:
    """Scales rows to root mean square 1: `[N, C]` -> `[N, C]`."""
    return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-8)


class EqualisedDense(nn.Module):
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


class EqualisedConv(nn.Module):
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
