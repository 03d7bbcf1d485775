"""Kernels under PyTorch's spectral norm, for networks of ours that have none: divided by their singular value once."""

from __future__ import annotations

import numpy as np

from gan_jax.interop.layouts.layout import Tensors
from gan_jax.interop.links import ForeignLayoutError

VECTOR = "a vector of spectral norm; its kernel is divided by the singular value that it gives, as in evaluation"


def plain_kernels(tensors: Tensors) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors with `weight_orig`, `weight_u`, `weight_v` as the kernel that evaluation computes with, `weight_orig`.

    Returns:
      `(tensors, {name of a vector: why it is left out})`; kernels keep their names and places.

    Raises:
      ForeignLayoutError: vectors of other sizes than the kernel's.
    """
    kernels, left_out = dict(tensors), {}
    for name in tensors:
        base = name.removesuffix("_orig")
        if base == name or f"{base}_u" not in tensors or f"{base}_v" not in tensors:
            continue
        kernel, u, v = (tensors[n].astype(np.float64) for n in (name, f"{base}_u", f"{base}_v"))
        sizes = []
        for axis in (0, 1)[: kernel.ndim]:  # a transposed convolution's outputs are its second axis
            matrix = np.moveaxis(kernel, axis, 0).reshape(kernel.shape[axis], -1)
            if matrix.shape == (u.size, v.size):
                sizes.append(float(u @ matrix @ v))
        size = max(sizes, key=abs, default=0.0)  # of vectors that no step has turned yet it may be negative, there too
        if not size:
            raise ForeignLayoutError(f"{base + '_u'!r} and {base + '_v'!r} are no singular vectors of {name!r}")
        kernels[name] = (kernel / size).astype(tensors[name].dtype)
        left_out |= dict.fromkeys((f"{base}_u", f"{base}_v"), VECTOR)
    return {name: array for name, array in kernels.items() if name not in left_out}, left_out


def plain_name(name: str) -> str:
    """`0.weight` of `0.weight_orig`."""
    return name.removesuffix("_orig") if name.endswith("weight_orig") else name
