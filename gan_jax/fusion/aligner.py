"""Channel maps: a trained linear map of a donor's output channels (channel alignment of Zoo-Tuning; Shu et al., ICML 2021).

    A_i = 1 + L_i / C,    A_i W_i[..., p] = sum over o of W_i[..., o] A_i[o, p]

Spatial kernels have one: leaves `.../kernel [h, w, I, O]` with h or w above 1. All convolutions here, also transposed,
modulated and grouped ones, have their output channels last. L `[C, C]` starts at 0, so A starts as the identity. L is
divided by C because Adam's steps have one size: a channel reads all C channels, so without the division it would move C
times as far as a mixing weight.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from gan_jax.surgery.ops.arrays import xp_of
from gan_jax.trees import Tree, flatten


def spatial_kernels(params: Tree) -> list[str]:
    """Returns the paths of the leaves that have a channel map."""
    return [
        path
        for path, leaf in flatten(params).items()
        if path.rpartition("/")[2] == "kernel" and len(leaf.shape) == 4 and max(leaf.shape[:2]) > 1
    ]


def init_aligner(leaf: Any, count: int) -> Any:
    """Returns the initial L `[K, C, C]`, zeros in the leaf's dtype, for K donors' kernels like `leaf [h, w, I, C]`."""
    return xp_of(leaf).zeros((count, leaf.shape[-1], leaf.shape[-1]), leaf.dtype)


def aligned(donors: Any, aligner: Any) -> Any:
    """Computes `A_i W_i` of donors' kernels `[K, h, w, I, C]` and L `[K, C, C]`; where L is 0, exactly the donors."""
    return donors + einsum("k...o,kop->k...p", donors, aligner) / donors.shape[-1]


def einsum(subscripts: str, *arrays: Any) -> Any:
    """Computes an einsum at full precision (accelerators round factors to 10 bits); on the host for NumPy arrays."""
    xp = xp_of(*arrays)
    return xp.einsum(subscripts, *arrays, **({} if xp is np else {"precision": jax.lax.Precision.HIGHEST}))
