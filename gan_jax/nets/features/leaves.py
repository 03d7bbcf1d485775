"""Leaves of a network of `steps`: as in the reference, with batch statistics, or folded without them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.nets.features.steps import Conv, Parallel, Residual, Steps
from gan_jax.trees import flatten, unflatten


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
    for conv, _ in convs(steps, 0):
        if conv.eps is not None:

            def take(name: str, path: str = conv.path) -> np.ndarray:
                return np.asarray(leaves.pop(f"{path}/{name}"), np.float64)

            gain = take("scale") / np.sqrt(take("var") + conv.eps)
            leaves[f"{conv.path}/bias"] = jnp.asarray(take("bias") - take("mean") * gain, jnp.float32)
            leaves[f"{conv.path}/kernel"] = jnp.asarray(take("kernel") * gain, jnp.float32)
    return unflatten(leaves)
