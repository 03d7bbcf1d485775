"""The three resizings to 299 px in published Frechet Inception distances.

They differ by several points of FID (Parmar et al. 2022, arXiv:2104.11222), so that a protocol names its own:

- `legacy-tensorflow`: bilinear as TensorFlow 1 has it, the output's corner on the input's, no anti-aliasing. The
  original FID, StyleGAN and torch-fidelity.
- `legacy-pytorch`: bilinear, centres of pixels on centres, no anti-aliasing. pytorch-fid.
- `clean`: anti-aliased bicubic on each channel by itself, in float and never rounded. clean-fid.

The networks' pixels differ as well: `(x - 128) / 128`, but `x / 127.5 - 1` in pytorch-fid.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np


def resize_clean(images: np.ndarray, resolution: int) -> np.ndarray:
    """Pillow's bicubic filter in its float mode: uint8 `[N, H, W, C]` -> float32 in 0 .. 255, clipped, not rounded."""
    from PIL import Image

    out = np.empty((len(images), resolution, resolution, images.shape[-1]), np.float32)
    for picture, place in zip(images.astype(np.float32), out):
        for c in range(images.shape[-1]):
            channel = Image.fromarray(picture[..., c])
            place[..., c] = np.asarray(channel.resize((resolution, resolution), Image.Resampling.BICUBIC))
    return out.clip(0, 255)


def resize_tensorflow(x: jax.Array, resolution: int) -> jax.Array:
    """TensorFlow 1's bilinear resize: output i reads at i * in / out. `[N, H, W, C]` float32, any range."""
    for axis in (2, 1):
        size = x.shape[axis]
        at = np.arange(resolution, dtype=np.float32) * np.float32(size / resolution)
        low, high, way = _between(x, axis, at)
        x = low + (high - low) * way
    return x


def resize_pytorch(x: jax.Array, resolution: int) -> jax.Array:
    """`F.interpolate(mode="bilinear", align_corners=False)`: output i reads at (i + 1/2) in / out - 1/2, from 0 on."""
    for axis in (2, 1):
        scale = np.float32(x.shape[axis]) / np.float32(resolution)
        at = ((np.arange(resolution) + 0.5) * np.float64(scale) - 0.5).astype(np.float32)  # rounded once, as theirs
        low, high, way = _between(x, axis, np.maximum(at, 0))
        x = low * (1 - way) + high * way
    return x


def _between(x: jax.Array, axis: int, at: np.ndarray) -> tuple[jax.Array, jax.Array, np.ndarray]:
    """The two neighbours of each position along an axis, and its interpolation weight between them."""
    low = np.minimum(at.astype(np.int32), x.shape[axis] - 1)
    high = np.minimum(low + 1, x.shape[axis] - 1)
    shape = [1, 1, 1, 1]
    shape[axis] = len(at)
    return jnp.take(x, low, axis), jnp.take(x, high, axis), (at - low.astype(np.float32)).reshape(shape)


IN_NETWORK: dict[str, Callable[[jax.Array, int], jax.Array]] = {  # part of the compiled extractor; others come before
    "legacy-tensorflow": resize_tensorflow,
    "legacy-pytorch": resize_pytorch,
}
FID_RESIZES = ("legacy-tensorflow", "legacy-pytorch", "clean")
