"""Convolutional networks as data: lists of steps, run by `run_steps`, and their leaves.

A published network is a table of layers, and written as a table it can be compared with the paper line by line. NHWC, HWIO.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.nets.conv import conv, is_closed
from gan_jax.trees import flatten, unflatten

# ----------------------------------------------------------------------------------------------------------------------
# Strided convolutions and pooling of feature networks, in a fast form for each platform.
#
# XLA on CPU walks windows and grouped convolutions element by element; sums and maxima of shifted slices, which fuse
# into one loop, are many times faster there. Other platforms get their libraries' own forms.

Padding = tuple[tuple[int, int], tuple[int, int]]
PRECISION = jax.lax.Precision.HIGHEST  # GPUs and TPUs would round to 10 bits: another device, another number


def convolve(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    """Computes the correlation of `x [N, H, W, I]`, `kernel [kh, kw, I, O]` or, depthwise, `[kh, kw, 1, I]`."""
    depthwise = kernel.shape[2] == 1 and x.shape[-1] != 1
    if depthwise and is_closed():
        return _depthwise(x, kernel, stride, padding)
    if stride == 1 and is_closed():
        return conv(x, kernel, padding)  # its gradient is fast in loops, too, as perceptual losses need
    if kernel.shape[:2] == (1, 1) and stride == 1 and not depthwise:
        return jnp.einsum("nhwi,io->nhwo", x, kernel[0, 0], precision=PRECISION)
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1] if depthwise else 1,
        precision=PRECISION,
    )


def max_pool(x: jax.Array, size: int, stride: int, padding: int = 0) -> jax.Array:
    """The largest value of `size` x `size` windows; padding never wins."""
    if not is_closed():
        window, strides = (1, size, size, 1), (1, stride, stride, 1)
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, strides, _pads(padding))
    x = jnp.pad(x, _pads(padding), constant_values=-jnp.inf) if padding else x
    return _separably(jnp.maximum, x, size, stride)


def mean_pool(x: jax.Array, size: int, stride: int, padding: int = 0) -> jax.Array:
    """Computes the mean of `size` x `size` windows over the pixels inside the image.

    Their number follows from the shape: XLA would take minutes to fold a divisor made by pooling ones.
    """
    if is_closed():
        total = _separably(jnp.add, jnp.pad(x, _pads(padding)) if padding else x, size, stride)
    else:
        window, strides = (1, size, size, 1), (1, stride, stride, 1)
        total = jax.lax.reduce_window(x, 0.0, jax.lax.add, window, strides, _pads(padding))
    rows, columns = (_counts(length, size, stride, padding) for length in x.shape[1:3])
    return total / jnp.asarray(np.outer(rows, columns), x.dtype)[None, :, :, None]


def _counts(length: int, size: int, stride: int, padding: int) -> np.ndarray:
    """Counts the positions of each window inside an axis."""
    starts = np.arange(0, length + 2 * padding - size + 1, stride) - padding
    return np.minimum(starts + size, length) - np.maximum(starts, 0)


def _separably(combine: Callable[..., jax.Array], x: jax.Array, size: int, stride: int) -> jax.Array:
    """Combines windows along one axis, then along the other."""
    for axis in (1, 2):
        x = reduce(combine, _shifted(x, axis, size, stride))
    return x


def _shifted(x: jax.Array, axis: int, size: int, stride: int) -> Sequence[jax.Array]:
    """Returns for each position within a window the values of all windows along an axis."""
    span = (x.shape[axis] - size) // stride * stride + 1
    return [jax.lax.slice_in_dim(x, start, start + span, stride, axis) for start in range(size)]


def _depthwise(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    height, width = kernel.shape[:2]
    rows = _shifted(x, 1, height, stride)
    return sum(
        part * kernel[i, j, 0][None, None, None]
        for i, row in enumerate(rows)
        for j, part in enumerate(_shifted(row, 2, width, stride))
    )  # type: ignore[return-value]


def _pads(padding: int) -> tuple[tuple[int, int], ...]:
    return (0, 0), (padding, padding), (padding, padding), (0, 0)


# ----------------------------------------------------------------------------------------------------------------------
# The steps, and `run_steps`.

Steps = Sequence["Conv | Pool | Parallel | Residual"]


@dataclasses.dataclass(frozen=True)
class Conv:
    """A convolution, its normalisation and its activation.

    Attributes:
      path: path of its leaves.
      features: output channels; None = as many as input channels, one kernel for each (depthwise).
      size: of the kernel, height and width.
      stride: of both axes.
      padding: pixels around (height, width), or "SAME" as TensorFlow has it, more at the end than at the beginning.
      eps: epsilon of batch normalisation with stored statistics; None = a bias instead.
      activation: the activation after it; None = none.
    """

    path: str
    features: int | None
    size: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: tuple[int, int] | Literal["SAME"] = (0, 0)
    eps: float | None = None
    activation: Literal["relu", "relu6"] | None = "relu"


@dataclasses.dataclass(frozen=True)
class Pool:
    """The largest value or the mean of 3x3 or 2x2 windows; means leave out what lies outside of the image."""

    kind: Literal["max", "mean"]
    size: int = 3
    stride: int = 1
    padding: int = 0


@dataclasses.dataclass(frozen=True)
class Parallel:
    """Branches that read the same input; their channels are concatenated in this order."""

    branches: tuple[Steps, ...]


@dataclasses.dataclass(frozen=True)
class Residual:
    """Steps whose output is added to their input."""

    steps: Steps


def run_steps(params: Mapping[str, Any], steps: Steps, x: jax.Array) -> jax.Array:
    """Runs images or maps through the steps.

    Args:
      params: a tree as `leaf_specs` describes it, or as `fold` leaves it.
      steps: the network.
      x: [N, H, W, C] float32.
    """
    for step in steps:
        match step:
            case Conv():
                x = _conv(reduce(lambda tree, name: tree[name], step.path.split("/"), params), step, x)
            case Pool(kind="max"):
                x = max_pool(x, step.size, step.stride, step.padding)
            case Pool():
                x = mean_pool(x, step.size, step.stride, step.padding)
            case Parallel():
                x = jnp.concatenate([run_steps(params, branch, x) for branch in step.branches], axis=-1)
            case Residual():
                x = x + run_steps(params, step.steps, x)
    return x


def _conv(layer: Mapping[str, jax.Array], step: Conv, x: jax.Array) -> jax.Array:
    row = lambda name: layer[name][None, None, None]
    x = convolve(x, layer["kernel"], step.stride, _padding(step, x.shape))
    if step.eps is not None and "mean" in layer:  # else folded
        x = (x - row("mean")) * (jax.lax.rsqrt(row("var") + step.eps) * row("scale"))
    x = x + row("bias")
    if step.activation is None:
        return x
    return jax.nn.relu(x) if step.activation == "relu" else jax.nn.relu6(x)


def _padding(step: Conv, shape: Sequence[int]) -> Padding:
    if step.padding != "SAME":
        (rows, columns) = step.padding
        return (rows, rows), (columns, columns)
    sides = []
    for length, size in zip(shape[1:3], step.size):
        total = max((-(-length // step.stride) - 1) * step.stride + size - length, 0)
        sides.append((total // 2, total - total // 2))
    return sides[0], sides[1]


# ----------------------------------------------------------------------------------------------------------------------
# Leaves of a network of `steps`: as in the reference, with batch statistics, or folded without them.


def convs(steps: Steps, channels: int) -> Iterator[tuple[Conv, int]]:
    """Yields every convolution with its number of input channels, in the order of the table."""
    for step in steps:
        match step:
            case Conv():
                yield step, channels
                channels = channels if step.features is None else step.features
            case Parallel():
                for branch in step.branches:
                    yield from convs(branch, channels)
                channels = sum(width_of(branch, channels) for branch in step.branches)
            case Residual():
                yield from convs(step.steps, channels)


def width_of(steps: Steps, channels: int) -> int:
    """Returns the number of output channels of steps that read `channels`."""
    for step in steps:
        if isinstance(step, Conv) and step.features is not None:
            channels = step.features
        elif isinstance(step, Parallel):
            channels = sum(width_of(branch, channels) for branch in step.branches)
    return channels


def leaf_specs(steps: Steps, channels: int = 3) -> dict[str, Any]:
    """Returns the leaves of a network that reads `channels`, as a tree of ShapeDtypeStructs."""
    layers = {conv.path: _leaves(conv, width) for conv, width in convs(steps, channels)}
    return unflatten({f"{path}/{name}": leaf for path, layer in layers.items() for name, leaf in layer.items()})


def _leaves(conv: Conv, channels: int) -> dict[str, jax.ShapeDtypeStruct]:
    spec = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)
    features = channels if conv.features is None else conv.features
    kernel = spec(*conv.size, 1 if conv.features is None else channels, features)
    names = ("bias",) if conv.eps is None else ("scale", "bias", "mean", "var")
    return {"kernel": kernel} | {name: spec(features) for name in names}


def dense_specs(rows: int, columns: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the leaves of a fully connected layer."""
    return {"kernel": jax.ShapeDtypeStruct((rows, columns), jnp.float32),
            "bias": jax.ShapeDtypeStruct((columns,), jnp.float32)}  # fmt: skip


def fold(params: Mapping[str, Any], steps: Steps) -> dict[str, Any]:
    """Folds batch statistics into kernels and biases, in float64: the same function with fewer passes over maps."""
    leaves = flatten(params)
    for layer, _ in convs(steps, 0):
        if layer.eps is not None:

            def take(name: str, path: str = layer.path) -> np.ndarray:
                return np.asarray(leaves.pop(f"{path}/{name}"), np.float64)

            gain = take("scale") / np.sqrt(take("var") + layer.eps)
            leaves[f"{layer.path}/bias"] = jnp.asarray(take("bias") - take("mean") * gain, jnp.float32)
            leaves[f"{layer.path}/kernel"] = jnp.asarray(take("kernel") * gain, jnp.float32)
    return unflatten(leaves)
