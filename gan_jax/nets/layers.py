"""Layers shared by the families: spectral norm, synchronised batch norm, self-attention, equalised learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.nets.conv import conv, strided, upsample_linear
from gan_jax.nets.products import padded_conv, transposed_conv
from gan_jax.nets.resample import conv_down3, downsample, halve_smoothly
from gan_jax.random_streams import DROPOUT_KEY

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
    """Convolution, by default of stride 1, odd size and same padding: `[N, H, W, I]` -> `[N, H', W', features]`.

    `stride` may be 2 where there are no groups; `pad` px of zeros are on each side, None = as many as keep the size.
    """

    features: int = 1
    size: int = 3
    bias: bool = True
    groups: int = 1
    stride: int = 1
    pad: int | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        kernel = self.weight("kernel", (self.size, self.size, x.shape[-1] // self.groups, self.features), train)
        x, pad = x.astype(kernel.dtype), self.size // 2 if self.pad is None else self.pad
        if self.stride == 2:
            y = strided(x, kernel, pad)
        else:
            y = conv(x, kernel, None if self.pad is None else ((pad, pad), (pad, pad)), self.groups)
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
    `MOMENTUM` into collection `batch_stats`; with `unbiased` the averaged variance is not biased, as in PyTorch.
    """

    num_classes: int = 0
    axis_name: str | None = None
    epsilon: float = 1e-5
    unbiased: bool = False
    init_scale: Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array, labels: jax.Array | None = None, train: bool = False) -> jax.Array:
        shape = (self.num_classes, x.shape[-1]) if self.num_classes else x.shape[-1:]
        scale = self.param("scale", self.init_scale, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        index = needed(labels) if self.num_classes else None  # a row for each example, or one for all
        scale, bias = scale[index][:, None, None, :], bias[index][:, None, None, :]
        y = standardised(self, x, train, self.axis_name, self.epsilon, self.unbiased)
        return (y * scale + bias).astype(x.dtype)


def standardised(
    module: nn.Module,
    x: jax.Array,
    train: bool,
    axis_name: str | None,
    epsilon: float = 1e-5,
    unbiased: bool = False,
) -> jax.Array:
    """Normalises `[N, H, W, C]` to mean 0 and variance 1 in each channel, at least float32; for use inside a norm module.

    Training uses the batch's statistics over all devices of `axis_name`, and averages them with `MOMENTUM` into the
    module's collection `batch_stats`, which evaluation uses. With `unbiased`, the averaged variance is that of n values
    times n / (n - 1).

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
            if unbiased:
                count = x.size // features * (1 if local else jax.lax.psum(1, axis_name))
                var.value += (1 - MOMENTUM) * (v * (count / max(count - 1, 1)) - var.value)
            else:
                var.value += (1 - MOMENTUM) * (v - var.value)
    else:
        wide, v = wide - spread(mean.value), var.value
    return wide * spread(jax.lax.rsqrt(v + epsilon))


class InstanceNorm(nn.Module):
    """Normalises each channel of each example over its positions: `[N, H, W, C]` -> the same; no running statistics.

    With `affine` each channel has a scale and a bias. Statistics are at least float32, and biased.
    """

    affine: bool = False
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        wide = at_least_float32(x)
        wide -= jax.lax.stop_gradient(wide.mean((1, 2), keepdims=True))  # a constant to the result, as is any centre
        wide -= wide.mean((1, 2), keepdims=True)
        wide *= jax.lax.rsqrt(jnp.square(wide).mean((1, 2), keepdims=True) + self.epsilon)
        if self.affine:
            wide *= self.param("scale", nn.initializers.ones, x.shape[-1:])[None, None, None, :]
            wide += self.param("bias", nn.initializers.zeros, x.shape[-1:])[None, None, None, :]
        return wide.astype(x.dtype)


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
# Convolutions of any size, stride and padding, and dropout, for networks from images to images.


def gan_init(kind: str, area: int = 0, channels: int = 0) -> Initializer:
    """Kernels with deviation 0.02 ("normal"), or Glorot's times 0.02 ("xavier").

    Args:
      kind: of the two.
      area, channels: px, and inputs plus outputs, of a kernel that is stored in parts; 0 = it is whole.
    """
    if kind == "normal":
        return nn.initializers.normal(0.02)
    if area:
        return nn.initializers.normal(0.02 * math.sqrt(2 / (area * channels)))
    return nn.initializers.variance_scaling(0.02**2, "fan_avg", "normal")


def around_one(key: jax.Array, shape: tuple[int, ...], dtype: Any = float) -> jax.Array:
    """Scales of batch norm, with mean 1 and deviation 0.02."""
    return 1 + 0.02 * jax.random.normal(key, shape, dtype)


class PaddedConv(nn.Module):
    """Convolution after padding, at the same size, half of it, or twice of it: `[N, H, W, I]` -> `[N, H', W', features]`.

    Attributes:
      features: channels of the output.
      size: of the kernel, px.
      stride: 1 or 2.
      pad: px of padding on each side; for `up`, PyTorch's padding of a transposed convolution.
      reflect: whether the padding mirrors the image; else it is zero.
      up: whether it is the transposed convolution of stride 2: 4 px with padding 1, or 3 px with padding and output
        padding 1. Both double the size.
    """

    features: int
    size: int = 3
    stride: int = 1
    pad: int = 0
    reflect: bool = False
    up: bool = False
    bias: bool = True
    init_kernel: Initializer = xavier()
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", self.init_kernel, (self.size, self.size, x.shape[-1], self.features))
        dtype = self.dtype or kernel.dtype
        x, kernel = x.astype(dtype), kernel.astype(dtype)
        if self.up:
            y = transposed_conv(x, kernel)
        else:
            pad = 0 if self.reflect else self.pad
            x = reflect_pad(x, self.pad) if self.reflect else x
            y = padded_conv(x, kernel, self.stride, pad)
        if self.bias:
            y += self.param("bias", nn.initializers.zeros, (self.features,)).astype(dtype)[None, None, None, :]
        return y


class ConvNorm(nn.Module):
    """Convolution, norm and activation: `[N, H, W, I]` -> `[N, H', W', features]`.

    Attributes:
      features, size, stride, pad, reflect, up, init_kernel, dtype: of the convolution (`PaddedConv`).
      norm: "batch", "instance" (after a convolution with a bias) or "none".
      affine: whether instance norm has a scale and a bias.
      slope: of the activation below zero; None = no activation.
      smooth: whether a filter changes the size: before the convolution for `up`, else after the activation; strides do
        not change it then.
      axis_name: mapped axis of batch norm.
      bias: whether the convolution has a bias.
      beside: name of a second kernel, for a second input; the two are the parts of one kernel that reads both.
    """

    features: int
    size: int = 3
    stride: int = 1
    pad: int = 1
    reflect: bool = False
    up: bool = False
    norm: str = "none"
    affine: bool = False
    slope: float | None = None
    smooth: bool = False
    init_kernel: Initializer = xavier()
    dtype: Any = None
    axis_name: str | None = None
    bias: bool | None = None  # None = where the norm is instance norm
    beside: str = ""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, second: jax.Array | None = None) -> jax.Array:
        bias = self.norm == "instance" if self.bias is None else self.bias
        if self.smooth and self.up:
            x = upsample_linear(x)
        stride, up = (1, False) if self.smooth else (self.stride, self.up)
        shape = (self.features, self.size, stride, self.pad, self.reflect, up)
        options = {"init_kernel": self.init_kernel, "dtype": self.dtype}
        y = PaddedConv(*shape, bias, **options, name="conv")(x)
        if second is not None:
            y += PaddedConv(*shape, False, **options, name=self.beside)(second)
        y = any_norm(y, self.norm, self.affine, self.axis_name, train)
        y = y if self.slope is None else nn.leaky_relu(y, self.slope)
        return halve_smoothly(y) if self.smooth and not self.up else y


def any_norm(
    x: jax.Array, kind: str, affine: bool, axis_name: str | None, train: bool, name: str = "norm"
) -> jax.Array:
    """Applies "batch" or "instance" norm, as PyTorch starts them, or "none"; for use inside a module."""
    if kind == "batch":
        return Norm(axis_name=axis_name, unbiased=True, init_scale=around_one, name=name)(x, train=train)
    return InstanceNorm(affine, name=name)(x) if kind == "instance" else x


def reflect_pad(x: jax.Array, pad: int) -> jax.Array:
    """Mirrors the image around its outermost pixels: `[N, H, W, C]` -> `[N, H + 2 pad, W + 2 pad, C]`."""
    return jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")


def drop_half(x: jax.Array, keys: jax.Array | None, layer: int) -> jax.Array:
    """Sets half of the values of each example to zero and doubles the others; nothing without `keys [N]`."""
    if keys is None:
        return x
    draw = lambda key: jax.random.bernoulli(jax.random.fold_in(key, DROPOUT_KEY + layer), 0.5, x.shape[1:])
    return jnp.where(jax.vmap(draw)(keys), 2 * x, jnp.zeros_like(x))


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
