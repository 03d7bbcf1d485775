"""Small classifiers as feature networks: LeNet-5, a small convolutional one, MobileNetV2, EfficientNet-Lite0."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp

from gan_jax.nets.features.steps import PRECISION, Conv, Pool, Residual, Steps, dense_specs, leaf_specs, run_steps

# ----------------------------------------------------------------------------------------------------------------------
# LeNet-5 (LeCun et al. 1998) with ReLU and max pooling: a classifier of digits, for distances between sets of digits.

LENET_FEATURES, LENET_CLASSES = 84, 10
STEPS: Steps = (
    Conv("c1", 6, (5, 5)), Pool("max", 2, 2), Conv("c3", 16, (5, 5)), Pool("max", 2, 2), Conv("c5", 120, (5, 5)),
)  # fmt: skip


def apply_lenet(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Features [N, 84] and logits [N, 10] of `x [N, 32, 32, 1]` in 0 .. 1, ink 1; larger images give a mean over maps."""
    maps = run_steps(params, STEPS, x).mean((1, 2))
    features = jax.nn.relu(_dense(params["f6"], maps))
    return features, _dense(params["f7"], features)


def lenet_specs() -> dict[str, Any]:
    """Returns the leaves, 61,706 values."""
    return leaf_specs(STEPS, 1) | {
        "f6": dense_specs(120, LENET_FEATURES),
        "f7": dense_specs(LENET_FEATURES, LENET_CLASSES),
    }


def _dense(layer: Any, x: jax.Array) -> jax.Array:
    return jnp.dot(x, layer["kernel"], precision=PRECISION) + layer["bias"][None]


# ----------------------------------------------------------------------------------------------------------------------
# A small convolutional classifier whose pooled penultimate layer is the feature vector.
#
# Four 3x3 convolutions without normalisation, so that an image's features depend on that image alone, bit for bit
# the same in any batch of one size. SiLU leaves no dead channel behind (a feature that is always 0 would make the
# covariance singular). Plain functions: the network is trained once and then only read.

Params = dict[str, dict[str, jax.Array]]


def init_small_conv(key: jax.Array, channels: int, num_classes: int) -> Params:
    """Initialises parameters: He-normal kernels, zero biases, identity feature units.

    Args:
      key: random key.
      channels: image channels.
      num_classes: logits of the classifier.
    """
    params: Params = {}
    width_in = 4 * channels  # after space-to-depth
    for index, width in enumerate(WIDTHS):
        key, subkey = jax.random.split(key)
        kernel = jax.random.normal(subkey, (3, 3, width_in, width)) * (2 / (9 * width_in)) ** 0.5
        params[f"conv{index}"] = {"kernel": kernel, "bias": jnp.zeros(width)}
        width_in = width
    params["units"] = {"mean": jnp.zeros(width_in), "std": jnp.ones(width_in)}
    kernel = jax.random.normal(key, (width_in, num_classes)) * width_in**-0.5
    params["head"] = {"kernel": kernel, "bias": jnp.zeros(num_classes)}
    return params


def apply_small_conv(params: Any, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Computes features and logits of images.

    Args:
      params: as `init_small_conv` gives them.
      images: [N, H, W, C] float32 in [-1, 1]; H and W even.

    Returns:
      Features [N, 64] in units of their standard deviation over the training images (once `set_units` was
      applied), and logits [N, num_classes].
    """
    x = _space_to_depth(images)
    for index, stride in enumerate(STRIDES):
        layer = params[f"conv{index}"]
        x = jax.nn.silu(_conv(x, layer["kernel"], stride) + layer["bias"][None, None, None])
    features = (x.mean((1, 2)) - params["units"]["mean"][None]) / params["units"]["std"][None]
    logits = jnp.dot(features, params["head"]["kernel"], precision=PRECISION) + params["head"]["bias"][None]
    return features, logits


def calibrate(params: Any, images: jax.Array) -> Params:
    """Rescales fresh parameters so that on `images` [N, H, W, C] every pre-activation has mean 0 and spread 1.

    It does once, before training, what batch normalisation does at every step, and leaves nothing behind.
    """
    x, out = _space_to_depth(images), dict(params)
    for index, stride in enumerate(STRIDES):
        kernel = params[f"conv{index}"]["kernel"]
        y = _conv(x, kernel, stride)
        mean, std = y.mean((0, 1, 2)), y.std((0, 1, 2))
        out[f"conv{index}"] = {"kernel": kernel / std[None, None, None], "bias": -mean / std}
        x = jax.nn.silu((y - mean[None, None, None]) / std[None, None, None])
    features = x.mean((1, 2))
    return {**out, "units": {"mean": features.mean(0), "std": features.std(0)}}


def set_units(params: Any, features: Any) -> Params:
    """Rescales the features to mean 0 and standard deviation 1 over `features` [N, D], leaving the logits as they are.

    Distances, and the polynomial kernel of KID, depend on the units of the features; these make every feature count.
    """
    mean, std = features.mean(0), features.std(0)
    if float(std.min()) < 1e-3:
        raise ValueError(
            f"feature {int(std.argmin())} hardly varies (std {float(std.min()):.2g}); train it differently"
        )
    units, head = params["units"], params["head"]
    return {
        **params,
        "units": {"mean": units["mean"] + units["std"] * mean, "std": units["std"] * std},
        "head": {"kernel": head["kernel"] * std[:, None], "bias": head["bias"] + mean @ head["kernel"]},
    }


def _space_to_depth(x: jax.Array) -> jax.Array:
    """[N, H, W, C] to [N, H/2, W/2, 4 C]: the first convolution sees 6x6 pixels at a quarter of the cost."""
    n, height, width, channels = x.shape
    x = x.reshape(n, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, height // 2, width // 2, 4 * channels)


def _conv(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=numbers, precision=PRECISION
    )


WIDTHS = (32, 64, 64, 64)
STRIDES = (1, 2, 1, 2)


# ----------------------------------------------------------------------------------------------------------------------
# MobileNetV2 (Sandler et al. 2018) and EfficientNet-Lite0: small classifiers of ImageNet made of depthwise blocks.
#
# MobileNetV2 is torchvision's; EfficientNet-Lite0 is TensorFlow's, whose strided convolutions pad more at the end.

IMAGENET_FEATURES, IMAGENET_CLASSES = 1280, 1000
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
    return leaf_specs(MOBILENET_V2_STEPS) | {"classifier": dense_specs(IMAGENET_FEATURES, IMAGENET_CLASSES)}


def efficientnet_lite0_specs() -> dict[str, Any]:
    """Returns the leaves of EfficientNet-Lite0, 4,652,008 values of them trained."""
    return leaf_specs(EFFICIENTNET_LITE0_STEPS) | {"classifier": dense_specs(IMAGENET_FEATURES, IMAGENET_CLASSES)}


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
    yield conv("head", IMAGENET_FEATURES)


MOBILENET_V2_STEPS: Steps = tuple(_network(MOBILENET_V2, 1e-5, same=False))
EFFICIENTNET_LITE0_STEPS: Steps = tuple(_network(EFFICIENTNET_LITE0, 1e-3, same=True))
