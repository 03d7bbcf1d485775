"""The FID Inception and its three preprocessings against pytorch-fid, torch-fidelity and clean-fid."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from gan_jax.metrics.features import feature_net
from gan_jax.metrics.networks import resize_clean, resize_pytorch, resize_tensorflow
from tests.peers.conftest import close, params_of, pictures, planes, randomise


@pytest.fixture
def inception(peer, monkeypatch):
    """pytorch-fid's network with random weights, and the function that makes its wrapper."""
    module = peer("pytorch_fid.inception")
    vision = peer("torchvision")
    monkeypatch.setattr(module, "load_state_dict_from_url", lambda *args, **options: None)
    monkeypatch.setattr(vision.models.Inception3, "load_state_dict", lambda self, state: None)
    net = randomise(module.fid_inception_v3())
    monkeypatch.undo()
    monkeypatch.setattr(module, "fid_inception_v3", lambda: net)
    return net, lambda **options: module.InceptionV3((3,), **options).eval()


@pytest.mark.parametrize("side", [64, 299, 320])
def test_features_are_pytorch_fids(inception, tmp_path, side):
    net, wrapped = inception
    images = pictures(2, side)
    expected = wrapped()(planes(images) / 255)[0][..., 0, 0].numpy()  # its loader gives 0 .. 1
    ours = feature_net(
        "inception-v3-fid", params_of("inception-v3-fid", net, tmp_path / "w.pth"), option="legacy-pytorch"
    )
    features, logits = ours.apply(ours.prepare(images))
    close(features, expected)
    close(logits, expected @ net.fc.weight.numpy().T)


@pytest.mark.parametrize("side", [64, 299, 320])
def test_features_and_logits_are_torch_fidelitys(inception, peer, tmp_path, side):
    import torch

    module = peer("torch_fidelity.feature_extractor_inceptionv3")
    net, _ = inception
    params = params_of("inception-v3-fid", net, tmp_path / "w.pth")
    names = ["2048", "logits_unbiased"]
    theirs = module.FeatureExtractorInceptionV3("x", names, feature_extractor_weights_path=str(tmp_path / "w.pth"))
    images = pictures(2, side)
    with torch.no_grad():
        expected = theirs(planes(images))
    ours = feature_net("inception-v3-fid", params)
    for found, wanted in zip(ours.apply(ours.prepare(images)), expected, strict=True):
        close(found, wanted.numpy())


@pytest.mark.parametrize(("height", "width"), [(64, 64), (30, 47), (320, 512)])
def test_tensorflows_resizing_is_torch_fidelitys_to_the_last_digit(peer, height, width):
    module = peer("torch_fidelity.interpolate_compat_tensorflow")
    x = np.random.default_rng(0).integers(0, 256, (2, height, width, 3)).astype(np.float32)
    theirs = module.interpolate_bilinear_2d_like_tensorflow1x
    expected = theirs(planes(x), size=(299, 299), align_corners=False).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(resize_tensorflow(x, 299), expected)


@pytest.mark.parametrize("mode", ["clean", "legacy_pytorch"])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (30, 47), (299, 299), (320, 512)])
def test_resizings_are_clean_fids_to_the_last_digit(peer, mode, height, width):
    images = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    theirs = peer("cleanfid.resize").build_resizer(mode)
    ours = {"clean": resize_clean, "legacy_pytorch": lambda x, side: jax.jit(resize_pytorch, static_argnums=1)(x, side)}
    found = ours[mode](images.astype(np.float32) if mode == "legacy_pytorch" else images, 299)
    np.testing.assert_array_equal(found, np.stack([theirs(image) for image in images]))
