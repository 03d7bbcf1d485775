"""Metrics of pairs: numbers of scikit-image and pytorch-msssim, cases by hand, baselines, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.metrics import (
    FeatureNet,
    MetricError,
    Perceptual,
    class_agreement,
    evaluate_pairs,
    l1,
    load_features,
    ms_ssim,
    pair_metrics,
    pixels,
    psnr,
    ssim,
)
from gan_jax.metrics.networks import PERCEPTUAL
from gan_jax.metrics.pixels import least_size, most_scales
from gan_jax.nets.features.perceptual import perceptual_specs
from gan_jax.nets.features.steps import Conv, Pool
from tests.nets.features.random import random_params


def waves(n: int, h: int, w: int, c: int, amount: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of pictures in closed form, whose metrics other programs computed."""
    i, y, x, k = np.meshgrid(*map(np.arange, (n, h, w, c)), indexing="ij")
    a = 128 + 80 * np.sin(0.31 * x + 0.17 * y + i) + 40 * np.cos(0.9 * y - 0.2 * x + k)
    b = a + amount * (25 * np.sin(1.7 * x + 2.3 * y + k) + 12 * np.cos(0.05 * x * (i + 1)))
    first, second = (np.floor(v.clip(0, 255)).astype(np.uint8) for v in (a, b))
    return first, second


# scikit-image 0.26.0: structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255,
# channel_axis=-1) and peak_signal_noise_ratio(data_range=255)
@pytest.mark.parametrize(
    "channels, similarities, decibels",
    [
        (3, [0.8939086580361982, 0.8948834324380835], [22.382486953352306, 22.43391886419029]),
        (1, [0.8928914742304269, 0.8945494149984026], [22.355623094552733, 22.441566752006832]),
    ],
)
def test_ssim_and_psnr_are_those_of_scikit_image(channels, similarities, decibels):
    a, b = waves(2, 24, 31, channels, 1.0)
    assert_allclose(ssim(a, b), similarities, rtol=1e-12)
    assert_allclose(psnr(a, b), decibels, rtol=1e-12)


# pytorch-msssim 1.0.0 with torch 2.13.0, in float64 but with a float32 window; its three scales with renormalised weights
@pytest.mark.parametrize(
    "amount, five, three",
    [
        (0.3, [0.9966005829170794, 0.9964319120866748], [0.9989418094538965, 0.9988090786585199]),
        (1.0, [0.9670906170693981, 0.9651603612902694], [0.9889978423619431, 0.9876030070416272]),
    ],
)
def test_ms_ssim_is_that_of_pytorch_msssim(amount, five, three):
    a, b = waves(2, 176, 192, 3, amount)
    assert_allclose(ms_ssim(a, b), five, rtol=3e-7)
    assert_allclose(ms_ssim(a, b, scales=3), three, rtol=3e-7)


def test_the_smallest_image_for_five_scales_has_161_px():
    a, b = waves(1, 161, 161, 1, 1.0)
    assert 0.5 < ms_ssim(a, b)[0] < 1
    assert_allclose(ms_ssim(a, a), 1, rtol=1e-12)
    with pytest.raises(MetricError, match=r"160 x 161 px .* needs 161 px; scales=4 is another metric"):
        ms_ssim(a[:, :160], b[:, :160])
    assert [least_size(n) for n in range(1, 6)] == [11, 21, 41, 81, 161]
    assert [most_scales(size) for size in (10, 11, 40, 41, 1000)] == [0, 1, 2, 3, 5]


def test_an_odd_row_is_repeated_at_the_next_scale():
    a, b = waves(1, 40, 44, 1, 1.0)
    halves = [np.pad(v[:, :39], ((0, 0), (0, 1), (0, 0), (0, 0)), mode="edge").astype(float) for v in (a, b)]
    x, y = (v.reshape(1, 20, 2, 22, 2, 1).mean((2, 4))[0] for v in halves)
    contrast = pixels._terms(*(v[0, :39].astype(float) for v in (a, b)))[1].mean()
    similarity = pixels._terms(x, y)[0].mean()
    w0, w1 = 0.0448 / 0.3304, 0.2856 / 0.3304
    assert_allclose(ms_ssim(a[:, :39], b[:, :39], 2), contrast**w0 * similarity**w1, rtol=1e-12)


def test_pixels_by_hand():
    a = np.zeros((2, 12, 12, 1), np.uint8)
    b = a.copy()
    b[0] = 51  # a fifth of the range everywhere
    assert_allclose(l1(a, b), [0.2, 0], rtol=1e-12)
    assert_allclose(psnr(a, b)[0], 20 * np.log10(5), rtol=1e-12)
    assert psnr(a, b)[1] == np.inf
    # flat images: only the means differ, (2 m1 m2 + c1) / (m1^2 + m2^2 + c1)
    assert_allclose(ssim(a, b), [6.5025 / (51**2 + 6.5025), 1], rtol=1e-9)


def test_the_negative_of_a_pattern_has_no_ms_ssim_rather_than_nan():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (1, 48, 48, 1), dtype=np.uint8)
    assert ssim(a, 255 - a)[0] < 0
    assert ms_ssim(a, 255 - a, 1)[0] == 0


@pytest.mark.parametrize(
    "a, b, text",
    [
        (np.zeros((1, 16, 16, 3), np.uint8), np.zeros((1, 16, 17, 3), np.uint8), "one shape"),
        (np.zeros((1, 16, 16, 3), np.float32), np.zeros((1, 16, 16, 3), np.uint8), "float32"),
        (np.zeros((0, 16, 16, 3), np.uint8), np.zeros((0, 16, 16, 3), np.uint8), "no pairs"),
        (np.zeros((1, 10, 16, 3), np.uint8), np.zeros((1, 10, 16, 3), np.uint8), "window of 11 px"),
    ],
)
def test_other_pairs_are_refused(a, b, text):
    with pytest.raises(MetricError, match=text):
        ssim(a, b)


def small_perceptual(monkeypatch: pytest.MonkeyPatch) -> Perceptual:
    small = ((Conv("conv0", 6, (5, 5), 3),), (Pool("max", stride=2), Conv("conv1", 8, (3, 3), padding=(1, 1))))
    monkeypatch.setitem(PERCEPTUAL, "alexnet", small)
    return Perceptual("alexnet", "ab" * 32, random_params(perceptual_specs(small), 0))


def test_an_evaluation_has_baselines_and_protocols(monkeypatch):
    net = small_perceptual(monkeypatch)
    inputs, targets = waves(5, 40, 40, 3, 1.0)
    outputs = (0.5 * inputs + 0.5 * targets).astype(np.uint8)
    # the nearest training input of each is a slightly darker copy of itself; its target is known
    train_inputs, train_targets = np.maximum(inputs, 3)[::-1] - 3, 255 - targets[::-1]
    result = evaluate_pairs(
        outputs, targets, inputs=inputs, train_inputs=train_inputs, train_targets=train_targets, perceptual=net
    )
    assert set(result.outputs.values) == {"l1", "psnr", "ssim", "lpips"}
    assert result.notes == ("no MS-SSIM: images of 40 x 40 px are too small for 5 scales",)
    assert_allclose(result.outputs.values["lpips"], net.distance(outputs, targets), rtol=1e-5)
    assert_allclose(result.baselines["identity"].values["ssim"], ssim(inputs, targets))
    assert_allclose(result.baselines["nearest"].values["l1"], l1(255 - targets, targets))
    assert result.outputs.means["l1"] < result.baselines["identity"].means["l1"]
    of_pixels, lpips = (result.outputs.protocols[name] for name in ("ssim", "lpips"))
    assert of_pixels.id.startswith("pixels-v1-r5-f5-") and lpips.id.startswith("lpips-alexnet-r5-f5-")
    assert of_pixels.title("ssim") == "SSIM (pixels-v1)" and lpips.title("lpips") == "LPIPS (AlexNet)"
    other = pair_metrics(outputs, 255 - targets).protocols["ssim"]
    assert other.id != of_pixels.id, "other targets, another protocol"
    fewer = pair_metrics(outputs, targets, scales=2)
    assert fewer.protocols["ms_ssim"].id.startswith("pixels-v1-scales2-") and not fewer.notes


def test_fd_and_kid_of_outputs_are_the_usual_ones():
    net: FeatureNet = load_features("fashion-v1")
    _, targets = waves(8, 28, 28, 1, 0.3)
    outputs = 255 - targets
    result = evaluate_pairs(outputs, targets, features=net)
    assert result.distribution is not None and result.distribution_protocol is not None
    assert set(result.distribution) == {"kid", "kid_std"}  # 8 pairs allow no Frechet distance
    assert any(note.startswith("no Frechet distance") for note in result.notes)
    assert result.distribution["kid"] > 0.01
    assert result.distribution_protocol.id.startswith("fashion-v1-r8-f8-")


def test_identity_needs_the_same_size():
    inputs, targets = waves(2, 16, 16, 3, 1.0)
    assert set(evaluate_pairs(targets, targets, inputs=inputs[..., :1]).baselines) == {"identity"}  # grey becomes RGB
    assert evaluate_pairs(targets, targets, inputs=inputs[:, :12]).baselines == {}
    assert evaluate_pairs(targets, targets, inputs=np.zeros((2, 16, 16), np.int32)).baselines == {}
    with pytest.raises(MetricError, match="give inputs"):
        evaluate_pairs(targets, targets, train_inputs=inputs, train_targets=targets)
    with pytest.raises(MetricError, match="1 inputs for 2 targets"):
        evaluate_pairs(targets, targets, inputs=inputs[:1])


def test_the_nearest_label_map_agrees_in_most_places():
    labels = np.zeros((2, 40, 40), np.int32)
    labels[1, :20] = 3
    near = labels[::-1].copy()
    near[:, 0] = 7
    targets = np.stack([np.full((16, 16, 1), value, np.uint8) for value in (10, 200)])
    result = evaluate_pairs(targets, targets, inputs=labels, train_inputs=near, train_targets=targets[::-1])
    assert_array_equal(result.baselines["nearest"].values["l1"], 0)


def test_agreement_of_classes_leaves_ignored_pixels_out():
    labels = np.array([[[0, 1], [2, 9]], [[9, 9], [9, 9]]], np.int32)
    images = np.zeros((2, 2, 2, 3), np.uint8)
    segmenter = lambda batch: np.tile(np.array([[0, 1], [1, 1]]), (len(batch), 1, 1))
    assert_allclose(class_agreement(images, labels, segmenter), [0.5, 0])
    assert_allclose(class_agreement(images, labels, segmenter, ignore=9), [2 / 3, np.nan])
    with pytest.raises(MetricError, match="the segmenter returned"):
        class_agreement(images, labels, lambda batch: np.zeros((len(batch), 2, 2, 5)))
    with pytest.raises(MetricError, match="labels are"):
        class_agreement(images, labels[:1], segmenter)
