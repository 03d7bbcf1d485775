"""A trained map of a donor's output channels before it is mixed (the channel alignment of Zoo-Tuning; Shu et al., ICML 2021).

    A_i = 1 + L_i / C,    A_i W_i[..., p] = sum over o of W_i[..., o] A_i[o, p]

It is of spatial kernels: leaves `.../kernel [h, w, I, O]` with h or w above 1. All convolutions here, transposed, modulated
and grouped ones too, have their output channels last. L `[C, C]` begins at 0, so that A is the identity. It is divided by C
because the steps of Adam have one size: a channel takes from all C others, and would else move C times as far as a share.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from gan_jax.surgery.ops.arrays import xp_of
from gan_jax.trees import Tree, flatten


def spatial_kernels(params: Tree) -> list[str]:
    """Paths of the leaves that have an aligner."""
    return [
        path
        for path, leaf in flatten(params).items()
        if path.rpartition("/")[2] == "kernel" and len(leaf.shape) == 4 and max(leaf.shape[:2]) > 1
    ]


def first_aligner(leaf: Any, count: int) -> Any:
    """L `[K, C, C]` of K donors' kernels like `leaf [h, w, I, C]`, of its dtype."""
    return xp_of(leaf).zeros((count, leaf.shape[-1], leaf.shape[-1]), leaf.dtype)


def aligned(donors: Any, aligner: Any) -> Any:
    """`A_i W_i` of donors' kernels `[K, h, w, I, C]` and L `[K, C, C]`; with L of 0 the donors to the bit."""
    return donors + einsum("k...o,kop->k...p", donors, aligner) / donors.shape[-1]


def einsum(what: str, *arrays: Any) -> Any:
    """On the host for NumPy arrays. Accelerators would round the factors to 10 bits."""
    xp = xp_of(*arrays)
    return xp.einsum(what, *arrays, **({} if xp is np else {"precision": jax.lax.Precision.HIGHEST}))
