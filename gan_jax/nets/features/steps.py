"""Convolutional networks as data: lists of steps, run by `run_steps`; `leaves.py` lists their leaves.

A published network is a table of layers, and written as a table it can be compared with the paper line by line. NHWC, HWIO.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, Literal

import jax
import jax.numpy as jnp

from gan_jax.nets.features.windows import Padding, convolve, max_pool, mean_pool

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
      params: a tree as `leaves.leaf_specs` describes it, or as `fold` leaves it.
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
