"""FSGAN: of all kernels the singular values, and of nothing else anything."""

import jax
import numpy as np
import pytest

from gan_jax.config import FSGANConfig, ResNetConfig
from tests.transfer.methods import conformance as ask
from tests.transfer.methods.convolved import build_convolved

CONFIG = ask.make_config(FSGANConfig())


@pytest.fixture
def _convolved(monkeypatch):
    monkeypatch.setattr("gan_jax.nets.resnet.make", build_convolved)


@pytest.mark.usefixtures("_convolved")
def test_only_gains_train_in_both_networks():
    begun = ask.conform(CONFIG)
    ask.assert_identity(begun)
    ask.assert_trains(begun, lambda path: path.endswith("/gain"))
    ask.assert_baked(begun)


@pytest.mark.usefixtures("_convolved")
def test_singular_vectors_stay_and_values_are_scaled():
    begun = ask.conform(CONFIG)
    moved = ask.moved_networks(begun)["g"]
    new = np.float64(begun.method.plain("g", moved)["params"]["b8"]["kernel"]).reshape(-1, 3)
    u, s, v = np.linalg.svd(
        np.float64(begun.start.nets["g"]["params"]["b8"]["kernel"]).reshape(-1, 3), full_matrices=False
    )
    gain = np.float64(moved["params"]["adapter"]["b8"]["kernel"]["gain"])
    assert np.abs(gain - 1).max() > 0.01
    np.testing.assert_allclose(new, u @ np.diag(gain * s) @ v, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("_convolved")
def test_a_step_decomposes_nothing():
    begun = ask.conform(CONFIG)
    data = jax.tree_util.tree_map(jax.numpy.asarray, begun.trainer.feed.resident)
    text = str(jax.make_jaxpr(begun.trainer.step())(begun.state, data))
    assert "dot_general" in text and "svd" not in text


@pytest.mark.slow
def test_a_real_resnet():
    config = ask.make_config(FSGANConfig(), net=ResNetConfig(16, 1, z_dim=4, channel_base=64, channel_max=4))
    begun = ask.conform(config)
    ask.assert_identity(begun)
    ask.assert_only(begun, lambda path: path.endswith("/gain"))
    ask.assert_baked(begun)
