"""Views into networks: module paths and shapes, inputs of kernels, and D on whole groups of images."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.nets import dcgan, layers, r3gan, stylegan2
from gan_jax.nets.build import Net, Pair, Variables, example_inputs
from gan_jax.nets.layers import at_least_float32
from gan_jax.nets.resample import TAPS, blur, downsample

# ----------------------------------------------------------------------------------------------------------------------
# Module paths of a pair's networks, and the shape of each module's output for one example.

Shapes = dict[str, tuple[int, ...]]  # module path -> shape of one example's output


def module_shapes(pair: Pair, network: str) -> Shapes:
    """Returns the output shapes of all modules of `g` or `d`, by shape inference alone."""
    net = {"g": pair.g, "d": pair.d}[network]
    x, labels = example_inputs(pair.config)["gd".index(network)]
    outputs = jax.eval_shape(net.activations, net.specs(), x, labels)
    return {path: leaf.shape[1:] for path, leaf in outputs.items()}


def g_maps_by_block(pair: Pair) -> Shapes:
    """Returns one module per block of G, from the latents to the image: the block, or its last convolution in StyleGAN2.

    In translators they are those of the encoder, then those of the decoder. Only blocks whose outputs are maps are
    returned; if there are none, as in fully connected networks, all blocks.
    """
    shapes, styled = module_shapes(pair, "g"), "mapping" in pair.g_blocks
    names = [f"{name}/conv1" if styled else name for name in pair.g_blocks if name != "mapping"]
    blocks = {name: shapes[name] for name in names if name in shapes}
    return {name: shape for name, shape in blocks.items() if len(shape) == 3} or blocks


# ----------------------------------------------------------------------------------------------------------------------
# Inputs of every kernel of a network, as matrix rows: for a convolution, the patches that it reads.
#
# A layer's output, before bias and activation, is these rows times its kernel as a matrix, up to a factor for each output
# channel (spectral norm, an equalised learning rate). If a demodulation or a filter follows the kernel, the output is meant
# before it. Style modulation precedes the kernel, so the rows include it.

Outputs = dict[str, jax.Array]  # module path -> output


def kernel_inputs(
    net: Net, variables: Variables, x: jax.Array, labels: jax.Array | None = None, train: bool = False
) -> dict[str, jax.Array]:
    """Collects kernel inputs: path of a kernel below `params` -> `[groups, rows, K]`, at least float32.

    `K` are the values that an output reads, in the order of the kernel `[.., I, O]` as the matrix `[K, O]`. A grouped
    convolution has K values for each group. Rows are examples times positions, so patches of large maps take much memory:
    pass few examples at a time. Tables of classes are left out.

    Args:
      net: the network.
      variables: its variables.
      x, labels: its input.
      train: mode of the pass; updated collections are dropped.
    """
    inputs: dict[str, jax.Array] = {}
    outputs: Outputs = {}

    def record(call: Callable[..., Any], args: Any, options: Any, context: Any) -> Any:
        module = context.module
        y = call(*args, **options)
        path = "/".join(module.path)
        if context.method_name == "__call__" and type(module) in ROWS and not module.is_initializing():
            rows = at_least_float32(ROWS[type(module)](module, args[0], path, outputs))
            name = f"{path}/kernel"
            inputs[name] = jnp.concatenate([inputs[name], rows], axis=1) if name in inputs else rows
            outputs[path] = y
        return y

    with nn.intercept_methods(record):
        net.apply(variables, x, labels, train)
    return inputs


def windows(x: jax.Array, size: int, stride: int = 1, pad: int = 0, groups: int = 1) -> jax.Array:
    """Extracts a convolution's patches in kernel order: `[N, H, W, C]` -> `[groups, N H' W', size^2 C/groups]`."""
    x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    n, h, width, c = x.shape
    rows, columns = (h - size) // stride + 1, (width - size) // stride + 1

    def part(a: int, b: int) -> jax.Array:
        return x[:, a : a + stride * rows : stride, b : b + stride * columns : stride][:, :rows, :columns]

    taps = jnp.stack([part(a, b) for a in range(size) for b in range(size)], axis=3)  # [N, H', W', size^2, C]
    taps = taps.reshape(n * rows * columns, size**2, groups, c // groups).transpose(2, 0, 1, 3)
    return taps.reshape(groups, n * rows * columns, -1)


def transposed_windows(x: jax.Array, size: int) -> jax.Array:
    """Extracts the patches that a transposed convolution of stride 2 reads: those of the zero-filled image, flipped."""
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


def _padded(module: Any, x: jax.Array, path: str, outputs: Outputs) -> jax.Array:
    if module.up and module.size == 4:
        return transposed_windows(x, 4)
    if module.up:  # without the first row and column of outputs
        n, h, width, _ = x.shape
        rows = transposed_windows(x, 3).reshape(n, 2 * h + 1, 2 * width + 1, -1)[:, 1:, 1:]
        return rows.reshape(1, 4 * n * h * width, -1)
    if module.reflect:
        return windows(layers.reflect_pad(x, module.pad), module.size, module.stride)
    return windows(x, module.size, module.stride, module.pad)


# Class of a module with a kernel -> `(module, its input, its path, outputs of earlier modules) -> rows`.
ROWS: dict[type, Callable[[Any, jax.Array, str, Outputs], jax.Array]] = {
    layers.Dense: lambda module, x, path, outputs: _flat(x),
    layers.Conv: lambda module, x, path, outputs: windows(x, module.size, pad=module.size // 2, groups=module.groups),
    layers.EqualisedDense: lambda module, x, path, outputs: _flat(x),
    layers.EqualisedConv: _equalised_conv,
    layers.PaddedConv: _padded,
    dcgan.Resample: _resample,
    stylegan2.StyledConv: _styled,
    stylegan2.ToRGB: lambda module, x, path, outputs: windows(_modulated(x, path, outputs), 1),
    r3gan.Stem: lambda module, x, path, outputs: _flat(x),
    r3gan.Head: _head,
}


# ----------------------------------------------------------------------------------------------------------------------
# D outside of training: logits computed in full groups of different images.
#
# StyleGAN2's D compares the images of a group (minibatch standard deviation), in evaluation too. A batch that does not fall
# into groups is an error. An image grouped with copies of itself would look to D like one of a collapsed generator.

CHUNK = 32  # images in one call, approximately


def whole_groups(pair: Pair, n: int) -> int:
    """Returns the largest number up to n that makes full groups of D; n itself if it is less than one group."""
    return n - n % pair.d_group if n > pair.d_group else n


def up_to_groups(n: int, *pairs: Pair) -> int:
    """Returns the smallest number from n on that makes full groups of every pair's D."""
    groups = {pair.d_group for pair in pairs if pair.d_group < n}
    return next(count for count in range(n, n + _common(groups)) if not any(count % group for group in groups))


def logits_in_groups(
    ask: Callable[..., Any],
    d_vars: Any,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    group: int = 1,
    at_most: int | None = None,
    chunk: int = CHUNK,
) -> np.ndarray:
    """Computes logits [N] of images in groups of different images of the set.

    Fewer images than a group are scored as one smaller group.

    Args:
      ask: `(d_vars, images [n, ...], labels [n] int32 or None) -> logits [n]`, compiled once for each n.
      d_vars: D's variables.
      images: [N, ...].
      labels: [N], for conditional networks.
      group: number of examples that D compares (`Pair.d_group`).
      at_most: upper bound of the group size, so that sets of different sizes are scored alike; each group is then a
        separate call.
      chunk: images in one call, rounded to groups.
    """
    n = len(images)
    group_size = min(group, n, at_most or group)
    if group_size < group:
        size = group_size
    else:
        size = group_size * max(1, chunk // group_size)
        if group_size > 1 and size > n:
            size = n - n % group_size
    parts = []
    for start in range(0, n, size):
        # The last chunk is filled from the start, so one program serves all; where D compares images, size is at most n.
        index = np.arange(start, start + size) % n
        chunk_labels = None if labels is None else np.asarray(labels)[index].astype(np.int32)
        parts.append(np.asarray(ask(d_vars, images[index], chunk_labels)))
    return np.concatenate(parts)[:n]


def _common(groups: set[int]) -> int:
    return int(np.lcm.reduce([1, *groups]))
