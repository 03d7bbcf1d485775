"""Published weights from the cache (`gan-jax weights get NAME`): what is known of them without running other programs."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax.metrics import load_features, load_perceptual
from gan_jax.metrics.networks import NETWORKS, is_there
from tests.conftest import extra_data

pytestmark = pytest.mark.weights


def published(name: str) -> None:
    """Skips the test where the weights of a network are not in the cache."""
    if not is_there(name):
        pytest.skip(f"needs the weights of {name}: gan-jax weights get {name}")


@pytest.mark.parametrize(
    ("network", "first"), [("alexnet", (0.1186, 0.0941, 0.0954)), ("vgg16", (-0.5537, 0.1427, 0.5290))]
)
def test_the_first_convolution_has_torchvisions_values(network, first):
    published(network)
    net = load_perceptual(network)
    assert_allclose(net.params["conv0"]["kernel"][0, :3, 0, 0], first, atol=5e-5)
    assert all(np.asarray(net.params[f"head{i}"]["weight"]).min() >= 0 for i in range(5))


@pytest.mark.parametrize(("network", "first", "second"), [("alexnet", 0.7219, 0.1376), ("vgg16", 0.5686, 0.4217)])
def test_lpips_of_its_authors_pictures(network, first, second):
    """The example of their repository: `ex_ref.png` against `ex_p0.png` and `ex_p1.png`, 64 px."""
    published(network)
    from PIL import Image

    reference, *others = (
        np.asarray(Image.open(extra_data("lpips", f"ex_{name}.png")).convert("RGB"))[None]
        for name in ("ref", "p0", "p1")
    )
    net = load_perceptual(network)
    assert_allclose([net.distance(reference, other)[0] for other in others], [first, second], atol=5e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_features_of_published_weights_are_alive(name):
    """Every picture another vector, no feature that is always 0 or not finite."""
    published(name)
    net = load_features(name if name == "inception-v3-fid" else f"{name}:64")
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
    values, logits = net.apply(net.prepare(images))
    assert np.asarray(values).shape == (8, net.dim) and (logits is None) == (net.num_classes == 0)
    assert np.isfinite(values).all() and np.asarray(values).std(0).mean() > 1e-3
    assert net.meta["licence"] and net.weights_hash == net.meta["source"]["sha256"]


def test_lenet_knows_digits():
    """As published: 99.1 % of MNIST's test images, at 32 px."""
    published("lenet-mnist")
    from gan_jax.data.sources import load

    images = load(f"idx:{extra_data('mnist')}:test")
    net = load_features("lenet-mnist")
    values, logits = net.apply(net.prepare(images.images[:2000]))
    assert (np.asarray(logits).argmax(1) == images.labels[:2000]).mean() > 0.98
    assert np.asarray(values).shape == (2000, 84) and np.asarray(values).min() == 0
