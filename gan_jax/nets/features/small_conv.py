"""A small convolutional classifier whose pooled penultimate layer is the feature vector.

Four 3x3 convolutions without normalisation, so that an image's features depend on that image alone, bit for bit
the same in any batch of one size. SiLU leaves no dead channel behind (a feature that is always 0 would make the
covariance singular). Plain functions: the network is trained once and then only read.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

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
PRECISION = jax.lax.Precision.HIGHEST  # GPUs and TPUs would round to 10 bits: another device, another number
