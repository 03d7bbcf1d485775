"""MobileNetV2 and EfficientNet-Lite0 against the packages that they come from, on random and on published weights."""

from __future__ import annotations

import numpy as np
import pytest

from gan_jax.metrics import load_features
from gan_jax.metrics.features import feature_net
from tests.peers.conftest import close, params_of, photograph, pictures, planes, published, randomise

MEAN, STD = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize("side", [64, 96])
def test_mobilenet_v2_is_torchvisions(peer, tmp_path, side):
    net = randomise(peer("torchvision.models").mobilenet_v2())
    ours = feature_net("mobilenetv2", params_of("mobilenetv2", net, tmp_path / "w.pth"), option=str(side))
    images = pictures(2, side)
    x = planes((images / 255 - MEAN) / STD).float()
    features, logits = ours.apply(ours.prepare(images))
    close(features, net.features(x).mean((2, 3)).numpy())
    close(logits, net(x).numpy())


@pytest.mark.parametrize("side", [64, 224])
def test_efficientnet_lite0_is_its_packages(peer, tmp_path, side):
    package = peer("efficientnet_lite_pytorch")
    net = randomise(package.EfficientNet.from_name("efficientnet-lite0", image_size=side))
    ours = feature_net("efficientnet-lite0", params_of("efficientnet-lite0", net, tmp_path / "w.pth"), option=str(side))
    images = pictures(2, side)
    x = planes((images.astype(np.float32) - 127) / 128)
    features, logits = ours.apply(ours.prepare(images))
    close(features, net.extract_features(x).mean((2, 3)).numpy())
    close(logits, net(x).numpy())


CLASSES = {
    "chelsea.png": (281, 282, 285),
    "coffee.png": (967,),
    "motorcycle_left.png": (665, 670),
}  # cats; espresso; two


@pytest.mark.weights
@pytest.mark.parametrize("name", ["mobilenetv2:224", "mobilenetv2", "efficientnet-lite0"])
@pytest.mark.parametrize("picture", CLASSES)
def test_published_weights_know_photographs(name, picture):
    published(name.split(":")[0])
    net = load_features(name)
    logits = np.asarray(net.apply(net.prepare(photograph(picture, 300)))[1], np.float64)[0]
    share = np.exp(logits - logits.max())
    assert logits.argmax() in CLASSES[picture]
    assert share.max() / share.sum() > 0.3
