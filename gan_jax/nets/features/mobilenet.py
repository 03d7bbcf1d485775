"""MobileNetV2 (Sandler et al. 2018) and EfficientNet-Lite0: small classifiers of ImageNet made of depthwise blocks.

MobileNetV2 is torchvision's; EfficientNet-Lite0 is TensorFlow's, whose strided convolutions pad more at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp

from gan_jax.nets.features.leaves import dense_specs, leaf_specs
from gan_jax.nets.features.steps import Conv, Residual, Steps, run_steps
from gan_jax.nets.features.windows import PRECISION

FEATURES, CLASSES = 1280, 1000
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels in 0 .. 1

# Expansion inside a block, output channels, number of blocks, stride of the first, size of the depthwise kernel
MOBILENET_V2 = ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 32, 3, 2, 3), (6, 64, 4, 2, 3), (6, 96, 3, 1, 3),
                (6, 160, 3, 2, 3), (6, 320, 1, 1, 3))  # fmt: skip
EFFICIENTNET_LITE0 = ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5),
                      (6, 192, 4, 2, 5), (6, 320, 1, 1, 3))  # fmt: skip


def apply_mobilenet_v2(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Computes features [N, 1280] and logits [N, 1000] of `x [N, H, W, 3]`: pixels in 0 .. 1 less `MEAN`, over `STD`."""
    return _classify(params, run_steps(params, MOBILENET_V2_STEPS, x))


def apply_efficientnet_lite0(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Computes features [N, 1280] and logits [N, 1000] of `x [N, H, W, 3]`, `(pixel - 127) / 128`."""
    return _classify(params, run_steps(params, EFFICIENTNET_LITE0_STEPS, x))


def mobilenet_v2_specs() -> dict[str, Any]:
    """Returns the leaves of MobileNetV2, 3,504,872 values of them trained."""
    return leaf_specs(MOBILENET_V2_STEPS) | {"classifier": dense_specs(FEATURES, CLASSES)}


def efficientnet_lite0_specs() -> dict[str, Any]:
    """Returns the leaves of EfficientNet-Lite0, 4,652,008 values of them trained."""
    return leaf_specs(EFFICIENTNET_LITE0_STEPS) | {"classifier": dense_specs(FEATURES, CLASSES)}


def _classify(params: Any, maps: jax.Array) -> tuple[jax.Array, jax.Array]:
    features = maps.mean((1, 2))
    head = params["classifier"]
    return features, jnp.dot(features, head["kernel"], precision=PRECISION) + head["bias"][None]


def _network(blocks: tuple[tuple[int, ...], ...], eps: float, same: bool) -> Iterator[Conv | Residual]:
    def conv(
        path: str, features: int | None, size: int = 1, stride: int = 1,
        activation: Literal["relu6"] | None = "relu6",
    ) -> Conv:  # fmt: skip
        padding = "SAME" if same else (size // 2, size // 2)
        return Conv(path, features, (size, size), stride, padding, eps, activation)

    yield conv("stem", 32, 3, 2)
    width, index = 32, 0
    for widening, features, repeats, first_stride, size in blocks:
        for i in range(repeats):
            name, stride = f"block{index}", first_stride if i == 0 else 1
            expand = (conv(f"{name}/expand", widening * width),) if widening > 1 else ()
            steps = (
                *expand,
                conv(f"{name}/depthwise", None, size, stride),
                conv(f"{name}/project", features, activation=None),
            )
            if stride == 1 and width == features:
                yield Residual(steps)
            else:
                yield from steps
            width, index = features, index + 1
    yield conv("head", FEATURES)


MOBILENET_V2_STEPS: Steps = tuple(_network(MOBILENET_V2, 1e-5, same=False))
EFFICIENTNET_LITE0_STEPS: Steps = tuple(_network(EFFICIENTNET_LITE0, 1e-3, same=True))
