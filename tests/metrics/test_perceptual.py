"""LPIPS of images, and diversity within clusters, through random weights: definitions, and what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.metrics import (
    MetricError,
    Perceptual,
    evaluate_intra_cluster,
    intra_cluster,
    load_perceptual,
    make_protocol,
)
from gan_jax.metrics.networks import COMPARED, PERCEPTUAL
from gan_jax.metrics.perceptual import load_compared
from gan_jax.nets.features.perceptual import lpips, perceptual_specs, stage_maps
from gan_jax.nets.features.steps import Conv, Pool
from tests.nets.features.random import random_params
from tests.transfer import tiny_perceptual

SMALL = ((Conv("conv0", 6, (5, 5), 3),), (Pool("max", stride=2), Conv("conv1", 8, (3, 3), padding=(1, 1))))


@pytest.fixture(scope="module")
def net() -> Iterator[Perceptual]:
    """AlexNet's name and rules, with two small layers: the function itself is tested in `nets.features`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PERCEPTUAL, "alexnet", SMALL)
        yield Perceptual("alexnet", "ab" * 32, random_params(perceptual_specs(SMALL), 0))


def pictures(n=4, channels=3, seed=0, size=32):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, channels), dtype=np.uint8)


def test_distance_is_the_functions(net):
    a, b = pictures(seed=1), pictures(seed=2)
    pixels = [jnp.asarray(x, jnp.float32) / 127.5 - 1 for x in (a, b)]
    expected = jax.jit(lambda a, b: lpips(net.params, PERCEPTUAL["alexnet"], a, b))(*pixels)
    assert float(expected.min()) > 0.01
    assert_allclose(net.distance(a, b), expected, rtol=1e-4)
    assert_allclose(net.distance(*map(np.asarray, pixels)), expected, rtol=1e-4)


def test_the_matrix_holds_the_distances_of_all_pairs(net):
    a, b = pictures(5, seed=1), pictures(3, seed=2)
    matrix = net.matrix(a, b, batch=4)
    assert matrix.shape == (5, 3)
    for j in range(3):
        assert_allclose(matrix[:, j], net.distance(a, np.repeat(b[j : j + 1], 5, 0)), rtol=1e-4)
    assert_array_equal(np.diag(net.matrix(a, a, batch=5)), 0)


def test_nearly_equal_images_keep_their_digits(net):
    a = pictures(1)
    b = a.copy()
    b[0, 5, 5, 0] ^= 1
    assert 0 < net.distance(a, b)[0] < 1e-3
    assert_allclose(net.matrix(a, b)[0], net.distance(a, b), rtol=1e-3)


def test_grey_is_repeated_and_alpha_laid_on_white(net):
    grey, other = pictures(channels=1), pictures(seed=5)
    assert_array_equal(net.distance(grey, other[..., :1]),
                       net.distance(np.repeat(grey, 3, 3), np.repeat(other[..., :1], 3, 3)))  # fmt: skip
    clear = np.concatenate([other, np.zeros_like(other[..., :1])], -1)
    assert_allclose(net.distance(clear, pictures(channels=4, seed=9) | 255), 0, atol=1e-12)


def test_images_that_cannot_be_compared(net):
    with pytest.raises(MetricError, match=r"pairs of \[4, 32, 32, 3\] and \[3, 32, 32, 3\]"):
        net.distance(pictures(), pictures(3))
    with pytest.raises(MetricError, match=r"float64\[4, 32, 32, 3\]; LPIPS takes .* uint8 or of float32 in \[-1, 1\]"):
        net.distance(pictures() / 255, pictures() / 255)
    with pytest.raises(MetricError, match="30 x 30 px are too small for alexnet, which needs 31"):
        net.distance(pictures(size=30), pictures(size=30))
    assert net.distance(pictures(1, size=31), pictures(1, size=31, seed=1))[0] > 0.01
    with pytest.raises(MetricError, match=r"\[32, 32\] and \[48, 48\] px"):
        net.matrix(pictures(), pictures(size=48))
    with pytest.raises(MetricError, match="no LPIPS network 'vgg19'.*vgg16"):
        load_perceptual("vgg19")


def test_float_images_are_of_the_range_that_they_are_said_to_be_of(net):
    a, b = pictures(seed=1), pictures(seed=2)
    expected = net.distance(a, b)
    raw = [x.astype(np.float32) for x in (a, b)]
    assert_allclose(net.distance(*raw, value_range=(0, 255)), expected, rtol=1e-4)
    assert_allclose(net.distance(raw[0] / 255, b / np.float32(255), value_range=(0, 1)), expected, rtol=1e-4)
    assert_allclose(net.distance(raw[0] / 255, b, value_range=(0, 1)), expected, rtol=1e-4)  # uint8 beside it
    with pytest.raises(MetricError, match=r"pixels from 0 to 255 are outside \[-1, 1\].*value_range=\(0, 255\)"):
        net.distance(*raw)
    with pytest.raises(MetricError, match=r"pixels from 0 to 1: none is below 0.*value_range=\(0, 1\) or \(-1, 1\)"):
        net.distance(*(x / 255 for x in raw))
    with pytest.raises(MetricError, match=r"pixels from -1 to 1 are outside \[0, 1\]"):
        net.distance(*(x / np.float32(127.5) - 1 for x in raw), value_range=(0, 1))
    bright = [x / 255 for x in raw]
    assert_allclose(net.distance(*bright, value_range=(-1, 1)), net.distance(*(x * 2 - 1 for x in bright), value_range=(-3, 1)),
                    rtol=1e-4)  # fmt: skip
    with pytest.raises(MetricError, match="outside"):
        net.distance(np.full_like(raw[0], np.nan), b)


def near(centres: np.ndarray, counts: list[int], noise: int) -> np.ndarray:
    """Images around each centre: so many, so far."""
    rng = np.random.default_rng(3)
    rows = np.repeat(centres, counts, axis=0).astype(int)
    return (rows + rng.integers(-noise, noise + 1, rows.shape)).clip(0, 255).astype(np.uint8)


def test_clusters_their_sizes_and_their_means(net):
    train = pictures(4, seed=7)
    fake = near(train, [3, 1, 0, 2], 8)
    found = intra_cluster(net, fake, train)
    assert_array_equal(found.nearest, [0, 0, 0, 1, 3, 3])
    assert_array_equal(found.sizes, [3, 1, 0, 2])
    assert found.clusters == 3
    pairs = [net.distance(fake[[i]], fake[[j]])[0] for i, j in ((0, 1), (0, 2), (1, 2))]
    assert_allclose(found.means[0], np.mean(pairs), rtol=1e-4)
    assert_allclose(found.means[3], net.distance(fake[[4]], fake[[5]])[0], rtol=1e-4)
    assert np.isnan(found.means[[1, 2]]).all(), "one image has no distance to itself"
    assert_allclose(found.mean, found.means[[0, 3]].mean(), rtol=1e-12)


def test_copies_have_no_diversity_and_more_noise_has_more(net):
    train = pictures(2, seed=7)
    assert intra_cluster(net, np.repeat(train, 4, 0), train).mean == 0.0
    means = [intra_cluster(net, near(train, [4, 4], noise), train).mean for noise in (4, 16, 48)]
    assert 0 < means[0] < means[1] < means[2]


def test_only_some_members_are_compared_and_the_seed_says_which(net):
    train = pictures(2, seed=7)
    fake = near(train, [4, 4], 30)
    one, again, other = (intra_cluster(net, fake, train, members=2, seed=seed).mean for seed in (0, 0, 1))
    assert one == again != other
    with pytest.raises(MetricError, match="members is 1"):
        intra_cluster(net, fake, train, members=1)
    with pytest.raises(MetricError, match="leave no two in a cluster"):
        intra_cluster(net, train, train)


def test_the_number_has_a_protocol(net):
    train, fake = pictures(2, seed=7), near(pictures(2, seed=7), [4, 4], 8)
    protocol = make_protocol(net, channels=3, n_real=2, n_fake=8, reference_hash="cd")
    numbers = evaluate_intra_cluster(net, fake, train, protocol)
    assert numbers == {"intra_lpips": intra_cluster(net, fake, train).mean, "clusters": 2.0}
    assert protocol.id.startswith("lpips-alexnet-r2-f8-")
    assert [protocol.title(name) for name in numbers] == [
        "intra-cluster LPIPS (AlexNet)",
        "occupied clusters (AlexNet)",
    ]
    assert "images as they are" in protocol.describe()[1]
    fewer = dataclasses.replace(protocol, cluster_members=2)
    assert evaluate_intra_cluster(net, fake, train, fewer) != numbers and fewer.id != protocol.id
    with pytest.raises(MetricError, match="n_fake is 4, but protocol .* says 8"):
        evaluate_intra_cluster(net, fake[:4], train, protocol)
    with pytest.raises(MetricError, match="weights_hash is abab"):
        evaluate_intra_cluster(net, fake, train, dataclasses.replace(protocol, weights_hash="00"))


def test_features_that_losses_compare(monkeypatch, tmp_path):
    """Grey images fill all three channels, alpha is left out, and what is unknown or absent is said."""
    tiny_perceptual.install(monkeypatch, tmp_path)
    monkeypatch.setitem(COMPARED, "tiny", lambda params, images: stage_maps(params, tiny_perceptual.STAGES, images))
    params, maps = load_compared("tiny")
    grey = np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 1)).astype("f4")
    colour = np.repeat(grey, 3, axis=-1)
    wanted = stage_maps(params, tiny_perceptual.STAGES, colour)
    assert [x.shape for x in wanted] == [(2, 7, 7, 4), (2, 5, 5, 4)]
    for images in (grey, colour, np.concatenate([colour, grey], -1)):
        for x, y in zip(maps(params, images), wanted, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-6)
    with pytest.raises(MetricError, match="no network 'vgg' for a perceptual loss"):
        load_compared("vgg")
    with pytest.raises(MetricError, match="gan-jax weights get vgg19"):
        load_compared("vgg19")
