"""The Inception-v3 of the Frechet Inception distance: that of TensorFlow's graph of 2015-12-05.

It differs from the published network (Szegedy et al. 2016, arXiv:1512.00567) and from torchvision's: 1,008 outputs, no
auxiliary head, means that leave the padding out, and a maximum in the pool branch of the last block.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.nets.features.steps import PRECISION, Conv, Parallel, Pool, Steps, dense_specs, leaf_specs, run_steps

EPS = 1e-3
FEATURES, CLASSES, RESOLUTION = 2048, 1008, 299


def apply_inception_v3(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Computes features and logits of images.

    Args:
      params: as `inception_v3_specs` lists them, or folded.
      x: [N, H, W, 3] float32, `(pixel - 128) / 128`; 299 px in every protocol, from 75 px possible.

    Returns:
      Features [N, 2048], and logits [N, 1008] without the bias of the last layer, as the Inception Score of StyleGAN
      and torch-fidelity uses them.
    """
    features = run_steps(params, STEPS, x).mean((1, 2))
    return features, jnp.dot(features, params["fc"]["kernel"], precision=PRECISION)


def inception_v3_specs() -> dict[str, Any]:
    """Returns the leaves of the network, 23,850,960 values of them trained."""
    return leaf_specs(STEPS) | {"fc": dense_specs(FEATURES, CLASSES)}


def _conv(
    block: str, name: str, features: int, size: tuple[int, int] = (1, 1), stride: int = 1, same: bool = True
) -> Conv:
    padding = (size[0] // 2, size[1] // 2) if same else (0, 0)
    return Conv(f"{block}/{name}" if block else name, features, size, stride, padding, EPS)


def _a(block: str, pooled: int) -> Parallel:
    """Mixed 5b to 5d, at 35 px."""
    conv = partial(_conv, block)
    return Parallel((
        (conv("branch1x1", 64),),
        (conv("branch5x5_1", 48), conv("branch5x5_2", 64, (5, 5))),
        (conv("branch3x3dbl_1", 64), conv("branch3x3dbl_2", 96, (3, 3)), conv("branch3x3dbl_3", 96, (3, 3))),
        (Pool("mean", padding=1), conv("branch_pool", pooled)),
    ))  # fmt: skip


def _b(block: str) -> Parallel:
    """Mixed 6a, from 35 to 17 px."""
    conv = partial(_conv, block)
    return Parallel((
        (conv("branch3x3", 384, (3, 3), 2, same=False),),
        (conv("branch3x3dbl_1", 64), conv("branch3x3dbl_2", 96, (3, 3)),
         conv("branch3x3dbl_3", 96, (3, 3), 2, same=False)),
        (Pool("max", stride=2),),
    ))  # fmt: skip


def _c(block: str, width: int) -> Parallel:
    """Mixed 6b to 6e, at 17 px."""
    conv = partial(_conv, block)
    return Parallel((
        (conv("branch1x1", 192),),
        (conv("branch7x7_1", width), conv("branch7x7_2", width, (1, 7)), conv("branch7x7_3", 192, (7, 1))),
        (conv("branch7x7dbl_1", width), conv("branch7x7dbl_2", width, (7, 1)), conv("branch7x7dbl_3", width, (1, 7)),
         conv("branch7x7dbl_4", width, (7, 1)), conv("branch7x7dbl_5", 192, (1, 7))),
        (Pool("mean", padding=1), conv("branch_pool", 192)),
    ))  # fmt: skip


def _d(block: str) -> Parallel:
    """Mixed 7a, from 17 to 8 px."""
    conv = partial(_conv, block)
    return Parallel((
        (conv("branch3x3_1", 192), conv("branch3x3_2", 320, (3, 3), 2, same=False)),
        (conv("branch7x7x3_1", 192), conv("branch7x7x3_2", 192, (1, 7)), conv("branch7x7x3_3", 192, (7, 1)),
         conv("branch7x7x3_4", 192, (3, 3), 2, same=False)),
        (Pool("max", stride=2),),
    ))  # fmt: skip


def _e(block: str, pool: Pool) -> Parallel:
    """Mixed 7b and 7c, at 8 px."""
    conv = partial(_conv, block)

    def fork(name: str, a: str, b: str) -> Parallel:
        return Parallel(((conv(f"{name}{a}", 384, (1, 3)),), (conv(f"{name}{b}", 384, (3, 1)),)))

    return Parallel((
        (conv("branch1x1", 320),),
        (conv("branch3x3_1", 384), fork("branch3x3_", "2a", "2b")),
        (conv("branch3x3dbl_1", 448), conv("branch3x3dbl_2", 384, (3, 3)), fork("branch3x3dbl_", "3a", "3b")),
        (pool, conv("branch_pool", 192)),
    ))  # fmt: skip


STEPS: Steps = (
    _conv("", "conv2d_1a_3x3", 32, (3, 3), 2, same=False),
    _conv("", "conv2d_2a_3x3", 32, (3, 3), same=False),
    _conv("", "conv2d_2b_3x3", 64, (3, 3)),
    Pool("max", stride=2),
    _conv("", "conv2d_3b_1x1", 80),
    _conv("", "conv2d_4a_3x3", 192, (3, 3), same=False),
    Pool("max", stride=2),
    _a("mixed_5b", 32), _a("mixed_5c", 64), _a("mixed_5d", 64),
    _b("mixed_6a"),
    _c("mixed_6b", 128), _c("mixed_6c", 160), _c("mixed_6d", 160), _c("mixed_6e", 192),
    _d("mixed_7a"),
    _e("mixed_7b", Pool("mean", padding=1)), _e("mixed_7c", Pool("max", padding=1)),
)  # fmt: skip
