"""Metrics of pairs of images from their pixels: L1, PSNR, SSIM, MS-SSIM, one number for each pair.

All take uint8 `[N, H, W, C]` of one shape, compute in float64 and return `[N]`.

SSIM is that of Wang et al. 2004 (Image quality assessment: from error visibility to structural similarity), in this variant:
Gaussian window of 11 x 11 px and sigma 1.5, K1 = 0.01, K2 = 0.03, range 255, variances divided by n (not n - 1), positions
where the whole window lies in the image only, no reduction of the image before, each channel alone and their mean. It is
scikit-image's `structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)`. Papers that measure the
luma alone have other numbers.

MS-SSIM is that of Wang et al. 2003 (Multiscale structural similarity for image quality assessment): five scales with the
published weights, of which each is the average of 2 x 2 px of the scale before. An odd last row or column is repeated, as in the
authors' program. A scale's negative mean counts as 0, since no weight gives it a real power.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gan_jax.metrics.statistics import MetricError

WINDOW, SIGMA = 11, 1.5  # px
K1, K2, RANGE = 0.01, 0.03, 255.0
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # from full size to a sixteenth


def l1(a: Any, b: Any) -> np.ndarray:
    """Mean absolute difference `[N]`, with black 0 and white 1: half of the same in [-1, 1]."""
    a, b = check_pairs(a, b)
    return _each(lambda x, y: np.abs(x - y).mean() / RANGE, a, b)


def psnr(a: Any, b: Any) -> np.ndarray:
    """Peak signal-to-noise ratio `[N]`, dB: `10 log10(255^2 / MSE)` over all pixels and channels; equal images have inf."""
    a, b = check_pairs(a, b)
    errors = _each(lambda x, y: np.square(x - y).mean(), a, b)
    with np.errstate(divide="ignore"):
        return 10 * np.log10(RANGE**2 / errors)


def ssim(a: Any, b: Any) -> np.ndarray:
    """Structural similarity `[N]`, at most 1; of the variant above.

    Raises:
      MetricError: images of other shapes, or smaller than the window.
    """
    a, b = check_pairs(a, b)
    if min(a.shape[1:3]) < WINDOW:
        raise MetricError(f"images of {size_text(a)} are smaller than SSIM's window of {WINDOW} px; enlarge them first")
    return _each(lambda x, y: _terms(x, y)[0].mean(), a, b)


def ms_ssim(a: Any, b: Any, scales: int = len(SCALE_WEIGHTS)) -> np.ndarray:
    """Multiscale structural similarity `[N]`, 0 to 1; of the variant above.

    Args:
      a: the images.
      b: the second image of each pair.
      scales: 5 as published. With fewer the first weights are divided by their sum: another metric, for small images.

    Raises:
      MetricError: images of other shapes, or too small: five scales need 161 px.
    """
    a, b = check_pairs(a, b)
    if isinstance(scales, bool) or not 1 <= scales <= len(SCALE_WEIGHTS):
        raise MetricError(f"scales is {scales}; use 1 to {len(SCALE_WEIGHTS)}, and {len(SCALE_WEIGHTS)} as published")
    if min(a.shape[1:3]) < least_size(scales):
        fitting = most_scales(min(a.shape[1:3]))
        remedy = f"scales={fitting} is another metric that fits them" if fitting else "enlarge them first"
        raise MetricError(
            f"images of {size_text(a)} are too small for MS-SSIM of {scales} scales, which needs {least_size(scales)} px; "
            f"{remedy}"
        )
    weights = np.array(SCALE_WEIGHTS[:scales]) / (1 if scales == len(SCALE_WEIGHTS) else sum(SCALE_WEIGHTS[:scales]))

    def product(x: np.ndarray, y: np.ndarray) -> float:
        value = np.ones(x.shape[-1])
        for i, weight in enumerate(weights):
            similarity, contrast = _terms(x, y)
            means = (similarity if i == scales - 1 else contrast).mean((0, 1))
            value *= np.maximum(means, 0) ** weight
            x, y = _half(x), _half(y)
        return value.mean()

    return _each(product, a, b)


def least_size(scales: int) -> int:
    """The least height and width, px, of images for MS-SSIM of so many scales."""
    return (WINDOW - 1) * 2 ** (scales - 1) + 1


def most_scales(size: int) -> int:
    """The largest number of scales for images of this size; 0 where they are smaller than the window."""
    return max((n for n in range(1, len(SCALE_WEIGHTS) + 1) if least_size(n) <= size), default=0)


def check_pairs(a: Any, b: Any) -> tuple[np.ndarray, np.ndarray]:
    """The two arrays, if they hold pairs of images.

    Raises:
      MetricError: they are not uint8 `[N, H, W, C]` of one shape, or hold no image.
    """
    a, b = np.asarray(a), np.asarray(b)
    for images in (a, b):
        if images.ndim != 4 or images.dtype != np.uint8:
            raise MetricError(
                f"images are {images.dtype.name}{list(images.shape)}; pairs are compared as uint8 [N, H, W, C]"
            )
    if a.shape != b.shape:
        raise MetricError(f"pairs of {list(a.shape)} and {list(b.shape)}; both images of a pair need one shape")
    if a.size == 0:
        raise MetricError("there are no pairs to compare")
    return a, b


def size_text(images: np.ndarray) -> str:
    """`64 x 48 px`, height first, of `[N, H, W, C]`."""
    return f"{images.shape[1]} x {images.shape[2]} px"


def _each(function: Any, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.array([function(x.astype(np.float64), y.astype(np.float64)) for x, y in zip(a, b)], np.float64)


def _terms(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Maps `[H - 10, W - 10, C]` of the similarity, and of its contrast and structure alone, for one pair `[H, W, C]`."""
    c1, c2 = (K1 * RANGE) ** 2, (K2 * RANGE) ** 2
    mean_x, mean_y = _blurred(x), _blurred(y)
    variances = _blurred(x * x) - mean_x**2 + _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    contrast = (2 * covariance + c2) / (variances + c2)
    return (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1) * contrast, contrast


def _blurred(x: np.ndarray) -> np.ndarray:
    """Gaussian means of the windows that lie in the image: `[H, W, C]` to `[H - 10, W - 10, C]`."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * SIGMA**2))
    weights /= weights.sum()
    height, width = x.shape[0] - WINDOW + 1, x.shape[1] - WINDOW + 1
    rows = sum(weight * x[i : i + height] for i, weight in enumerate(weights))
    return sum(weight * rows[:, i : i + width] for i, weight in enumerate(weights))  # type: ignore[return-value]


def _half(x: np.ndarray) -> np.ndarray:
    """Averages of 2 x 2 px; an odd last row or column is repeated."""
    x = np.pad(x, ((0, x.shape[0] % 2), (0, x.shape[1] % 2), (0, 0)), mode="edge")
    return (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4
