"""Metrics of pairs against scikit-image and piq, on photographs."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose

from gan_jax.metrics import ms_ssim, psnr, ssim


def pairs(peer) -> tuple[np.ndarray, np.ndarray]:
    """A photograph `[2, 256, 256, 3]`, and it with noise and darker."""
    astronaut = peer("skimage.data").astronaut()[:256, 128:384]
    noise = np.random.default_rng(0).normal(0, 12, astronaut.shape)
    worse = np.stack([(astronaut + noise).clip(0, 255), astronaut * 0.7]).astype(np.uint8)
    return np.stack([astronaut, astronaut]), worse


def test_ssim_and_psnr_are_those_of_scikit_image(peer):
    metrics, (a, b) = peer("skimage.metrics"), pairs(peer)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": -1}
    theirs = [metrics.structural_similarity(x, y, data_range=255, **options) for x, y in zip(a, b)]
    assert_allclose(ssim(a, b), theirs, rtol=1e-12)
    assert_allclose(psnr(a, b), [metrics.peak_signal_noise_ratio(x, y) for x, y in zip(a, b)], rtol=1e-12)


def test_ms_ssim_is_that_of_piq(peer):
    module = peer("piq.ms_ssim")
    import torch

    a, b = pairs(peer)
    planes = [torch.from_numpy(x.transpose(0, 3, 1, 2).astype(np.float64)) for x in (a, b)]
    theirs = module.multi_scale_ssim(*planes, data_range=255, reduction="none")
    assert_allclose(ms_ssim(a, b), theirs.numpy(), rtol=1e-6)
