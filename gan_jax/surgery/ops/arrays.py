"""Array helpers that keep NumPy in NumPy and JAX in JAX."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.trees import TreeError

Shape = tuple[int, ...]
Args = Mapping[str, Any]


class OpError(TreeError):
    """An operation does not fit the shapes that it was given; the message names both."""


def xp_of(*arrays: Any) -> Any:
    """`jax.numpy` where any array is JAX's (or traced), else `numpy`."""
    return jnp if any(isinstance(a, jax.Array) for a in arrays) else np


def wide(x: Any) -> Any:
    """Half-precision values as float32, for arithmetic; others as they are."""
    return x.astype(np.float32) if x.dtype.itemsize < 4 else x


def zeros(like: Any, shape: Shape) -> Any:
    """Zeros of the kind and dtype of `like`."""
    return xp_of(like).zeros(shape, like.dtype)


def leading(shape: Sequence[int]) -> tuple[slice, ...]:
    """The index of the leading corner of this shape."""
    return tuple(slice(0, n) for n in shape)


def paste(x: Any, index: Any, value: Any) -> Any:
    """A copy of `x` with `x[index] = value`."""
    if isinstance(x, jax.Array) or isinstance(value, jax.Array):
        return jnp.asarray(x).at[index].set(value)
    out = np.array(x)
    out[index] = value
    return out


def views(shape: Shape, args: Args) -> tuple[Shape, Shape]:
    """The shapes in which source and result are compared axis by axis.

    `args["view"]` unfolds fused axes on both sides, such as `[z, 16 C]` to `[z, 4, 4, C]`.
    """
    source, target = args.get("view", (shape, args["shape"]))
    if math.prod(source) != math.prod(shape) or math.prod(target) != math.prod(args["shape"]):
        raise OpError(f"view {list(source)} -> {list(target)} does not hold {list(shape)} -> {list(args['shape'])}")
    return tuple(source), tuple(target)


def corner(x: Any, fresh: Any, args: Args) -> Any:
    """`x` in the leading corner of `args["shape"]`.

    New positions along the axes in `args["inputs"]` feed old outputs with zero; all else is `fresh`.
    """
    small, large = views(x.shape, args)
    inputs = {axis % len(large) for axis in args.get("inputs", ())}
    old_outputs = leading([t if i in inputs else s for i, (s, t) in enumerate(zip(small, large))])
    out = paste(fresh.reshape(large), old_outputs, 0)
    return paste(out, leading(small), x.reshape(small)).reshape(tuple(args["shape"]))
