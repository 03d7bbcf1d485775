"""What every kernel of a network multiplies: the rows of its inputs, such as the patches that a convolution reads.

A layer's output, before bias and activation, is these rows times its kernel as a matrix, up to a factor for each output
channel (spectral norm, an equalised learning rate). Where the layer does more behind the kernel, as a demodulation or a
filter does, the output is that before it. Style modulation is before the kernel, and in the rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.nets import dcgan, equalised, layers, r3gan, r3gan_d, stylegan2
from gan_jax.nets.build import Net, Variables
from gan_jax.nets.layers import at_least_float32
from gan_jax.nets.resample import TAPS, blur, downsample

Outputs = dict[str, jax.Array]  # module path -> what it gave


def kernel_inputs(
    net: Net, variables: Variables, x: jax.Array, labels: jax.Array | None = None, train: bool = False
) -> dict[str, jax.Array]:
    """Path of a kernel below `params` -> its inputs `[groups, rows, K]`, at least float32.

    `K` are the values that an output reads, in the order of the kernel `[.., I, O]` as the matrix `[K, O]`; of a
    convolution in groups, whose outputs fall into as many runs, those of each. Rows are examples times positions, so
    that patches of large maps take much memory: give few examples at a time. Tables of classes are not listed.

    Args:
      net: network.
      variables: of it.
      x, labels: its input.
      train: mode of the pass; collections that it would update are dropped.
    """
    found: dict[str, jax.Array] = {}
    outputs: Outputs = {}

    def record(call: Callable[..., Any], args: Any, options: Any, context: Any) -> Any:
        module = context.module
        y = call(*args, **options)
        path = "/".join(module.path)
        if context.method_name == "__call__" and type(module) in ROWS and not module.is_initializing():
            rows = at_least_float32(ROWS[type(module)](module, args[0], path, outputs))
            name = f"{path}/kernel"
            found[name] = jnp.concatenate([found[name], rows], axis=1) if name in found else rows
            outputs[path] = y
        return y

    with nn.intercept_methods(record):
        net.apply(variables, x, labels, train)
    return found


def windows(x: jax.Array, size: int, stride: int = 1, pad: int = 0, groups: int = 1) -> jax.Array:
    """Patches that a convolution reads, in the order of its kernel: `[N, H, W, C]` -> `[groups, N H' W', size^2 C/groups]`."""
    x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    n, h, width, c = x.shape
    rows, columns = (h - size) // stride + 1, (width - size) // stride + 1
    part = lambda a, b: x[:, a : a + stride * rows : stride, b : b + stride * columns : stride][:, :rows, :columns]
    taps = jnp.stack([part(a, b) for a in range(size) for b in range(size)], axis=3)  # [N, H', W', size^2, C]
    taps = taps.reshape(n * rows * columns, size**2, groups, c // groups).transpose(2, 0, 1, 3)
    return taps.reshape(groups, n * rows * columns, -1)


def transposed_windows(x: jax.Array, size: int) -> jax.Array:
    """Patches that a transposed convolution of stride 2 reads: those of the image with zeros between, turned about."""
    n, h, width, c = x.shape
    spread = jnp.zeros((n, 2 * h - 1, 2 * width - 1, c), x.dtype).at[:, ::2, ::2].set(x)
    rows = windows(spread, size, pad=2)
    return rows.reshape(1, rows.shape[1], size**2, c)[:, :, ::-1].reshape(rows.shape)


def _flat(x: jax.Array) -> jax.Array:
    return x.reshape(1, math.prod(x.shape[:-1]), x.shape[-1])


def _equalised_conv(module: Any, x: jax.Array, path: str, outputs: Outputs) -> jax.Array:
    if not module.down:
        return windows(x, module.size, pad=module.size // 2)
    return windows(blur(x, TAPS, (2, 2)), 3, stride=2) if module.size == 3 else windows(downsample(x), module.size)


def _modulated(x: jax.Array, path: str, outputs: Outputs) -> jax.Array:
    return at_least_float32(x) * outputs[f"{path}/affine"][:, None, None, :]


def _styled(module: Any, x: jax.Array, path: str, outputs: Outputs) -> jax.Array:
    x = _modulated(x, path, outputs)
    return transposed_windows(x, 3) if module.up else windows(x, 3, pad=1)


def _resample(module: Any, x: jax.Array, path: str, outputs: Outputs) -> jax.Array:
    return transposed_windows(x, 4) if module.up else windows(x, 4, stride=2, pad=1)


def _head(module: Any, x: jax.Array, path: str, outputs: Outputs) -> jax.Array:
    return jnp.einsum("nhwc,hwc->nc", x, module.variables["params"]["basis"][:, :, 0])[None]


# Class of a module that owns a kernel -> `(module, its input, its path, outputs of modules before) -> rows`.
ROWS: dict[type, Callable[[Any, jax.Array, str, Outputs], jax.Array]] = {
    layers.Dense: lambda module, x, path, outputs: _flat(x),
    layers.Conv: lambda module, x, path, outputs: windows(x, module.size, pad=module.size // 2, groups=module.groups),
    equalised.Dense: lambda module, x, path, outputs: _flat(x),
    equalised.Conv: _equalised_conv,
    dcgan.Resample: _resample,
    stylegan2.StyledConv: _styled,
    stylegan2.ToRGB: lambda module, x, path, outputs: windows(_modulated(x, path, outputs), 1),
    r3gan.Stem: lambda module, x, path, outputs: _flat(x),
    r3gan_d.Head: _head,
}
