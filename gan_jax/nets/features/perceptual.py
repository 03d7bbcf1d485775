"""LPIPS: a perceptual distance of two images (Zhang et al. 2018, arXiv:1801.03924, version 0.1), over AlexNet or VGG16.

    LPIPS(a, b) = sum over layers l of the mean over pixels of  sum_c w_l[c] (a_l[c] / |a_l| - b_l[c] / |b_l|)^2

a_l are the activations of a layer, |.| their length over channels, and w_l >= 0 the head's learned weights. Pure
functions of the weights and the images, differentiable in both images: a metric and a loss.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.nets.features.steps import Conv, Pool, Steps, leaf_specs, run_steps, width_of

# Of pixels in [-1, 1]: the mean and deviation of ImageNet's pixels in other units.
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
TINY = 1e-10  # added to lengths, as the reference does


def perceptual_layers(params: Any, stages: tuple[Steps, ...], images: jax.Array) -> list[jax.Array]:
    """Computes the compared activations, one `[N, H_l, W_l, C_l]` for each layer.

    Args:
      params: as `perceptual_specs` lists them.
      stages: `ALEXNET` or `VGG16`.
      images: [N, H, W, 3] float32 in [-1, 1].
    """
    shift, scale = (jnp.asarray(row, images.dtype)[None, None, None] for row in (SHIFT, SCALE))
    return stage_maps(params, stages, (images - shift) / scale)


def stage_maps(params: Any, stages: tuple[Steps, ...], x: jax.Array) -> list[jax.Array]:
    """Computes what each stage gives, `[N, H_l, W_l, C_l]`, of an input `[N, H, W, 3]` that is taken as it is."""
    maps = []
    for steps in stages:
        x = run_steps(params, steps, x)
        maps.append(x)
    return maps


def lpips(params: Any, stages: tuple[Steps, ...], a: jax.Array, b: jax.Array) -> jax.Array:
    """Computes LPIPS `[N]` of pairs of images.

    Args:
      params: as `perceptual_specs` lists them.
      stages: `ALEXNET` or `VGG16`.
      a: [N, H, W, 3] float32 in [-1, 1].
      b: the images to compare with, of the same shape.
    """
    parts = zip(unit_maps(params, stages, a), unit_maps(params, stages, b))
    return sum(jnp.square(x - y).sum(-1).mean((1, 2)) for x, y in parts)  # type: ignore[return-value]


def unit_maps(params: Any, stages: tuple[Steps, ...], images: jax.Array) -> list[jax.Array]:
    """Computes unit-length activations times the root of w: their mean squared distance, summed over layers, is LPIPS."""
    maps = []
    for index, x in enumerate(perceptual_layers(params, stages, images)):
        root = jnp.sqrt(params[f"head{index}"]["weight"])[None, None, None]
        maps.append(x / (_length(x) + TINY) * root)
    return maps


def _length(x: jax.Array) -> jax.Array:
    """Computes lengths over channels, `[N, H, W, 1]`; where all channels are 0 the gradient is 0, not infinite."""
    squared = jnp.square(x).sum(-1, keepdims=True)
    some = squared > 0
    return jnp.where(some, jnp.sqrt(jnp.where(some, squared, 1.0)), 0.0)


def embed(params: Any, stages: tuple[Steps, ...], images: jax.Array) -> jax.Array:
    """Computes vectors [N, D] whose squared Euclidean distance is LPIPS: many pairs of few images cost one pass per image."""
    parts = [x / (x.shape[1] * x.shape[2]) ** 0.5 for x in unit_maps(params, stages, images)]
    return jnp.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def perceptual_specs(stages: tuple[Steps, ...]) -> dict[str, Any]:
    """Returns the leaves of a network with its heads."""
    specs, width = {}, 3
    for index, steps in enumerate(stages):
        specs |= leaf_specs(steps, width)
        width = width_of(steps, width)
        specs[f"head{index}"] = {"weight": jax.ShapeDtypeStruct((width,), jnp.float32)}
    return specs


ALEXNET: tuple[Steps, ...] = (
    (Conv("conv0", 64, (11, 11), 4, (2, 2)),),
    (Pool("max", stride=2), Conv("conv1", 192, (5, 5), padding=(2, 2))),
    (Pool("max", stride=2), Conv("conv2", 384, (3, 3), padding=(1, 1))),
    (Conv("conv3", 256, (3, 3), padding=(1, 1)),),
    (Conv("conv4", 256, (3, 3), padding=(1, 1)),),
)


def _vgg_stage(first: int, count: int, width: int, pool: bool = True) -> Steps:
    layers = tuple(Conv(f"conv{first + i}", width, (3, 3), padding=(1, 1)) for i in range(count))
    return (Pool("max", 2, 2), *layers) if pool else layers


VGG16: tuple[Steps, ...] = (
    _vgg_stage(0, 2, 64, pool=False), _vgg_stage(2, 2, 128), _vgg_stage(4, 3, 256), _vgg_stage(7, 3, 512),
    _vgg_stage(10, 3, 512),
)  # fmt: skip


def _vgg_to_first(first: int, count: int, width: int, next_width: int) -> Steps:
    """The rest of a stage of `count` layers, whose first belongs to the stage before, and the first of the next."""
    rest = tuple(Conv(f"conv{first + i}", width, (3, 3), padding=(1, 1)) for i in range(1, count))
    return (*rest, Pool("max", 2, 2), Conv(f"conv{first + count}", next_width, (3, 3), padding=(1, 1)))


# VGG19 up to the first layer of each of its five stages (relu1_1, relu2_1, ..), which losses of translators compare
VGG19: tuple[Steps, ...] = (
    _vgg_stage(0, 1, 64, pool=False), _vgg_to_first(0, 2, 64, 128), _vgg_to_first(2, 2, 128, 256),
    _vgg_to_first(4, 4, 256, 512), _vgg_to_first(8, 4, 512, 512),
)  # fmt: skip


def vgg19_specs() -> dict[str, Any]:
    """Returns the leaves of VGG19's thirteen layers up to relu5_1."""
    return leaf_specs(tuple(step for steps in VGG19 for step in steps), 3)
