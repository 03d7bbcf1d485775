"""Evaluations through feature networks of the cache: what the numbers are called, and what is said before training."""

from __future__ import annotations

import pytest

from gan_jax.config import ConfigError, DataConfig, EvalConfig
from gan_jax.metrics import MetricError
from gan_jax.transfer.evaluation import evaluate_model
from tests.transfer import tiny_perceptual

FEW = DataConfig(classes=(9,), shots=4)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A small network as if it was published, its weights where `gan-jax weights get` would put them."""
    tiny_perceptual.install(monkeypatch, tmp_path)


def test_clusters_around_the_shots_are_measured_under_their_own_protocol():
    numbers = evaluate_model("embedded:fashion16", FEW, EvalConfig(n_fake=70, stats_batches=0), "tiny")
    names = list(numbers)
    assert names[0] == "protocol" and numbers["protocol"].startswith("fashion-v1-r")
    at = names.index("protocol of LPIPS")
    assert numbers["protocol of LPIPS"].startswith("lpips-tiny-r4-f70-")
    assert names[at + 1 :] == ["intra-cluster LPIPS (Tiny)", "occupied clusters (Tiny)"]
    assert numbers["intra-cluster LPIPS (Tiny)"] > 0 and 1 <= numbers["occupied clusters (Tiny)"] <= 4
    assert "FD (fashion-v1)" in names[:at]


def test_what_cannot_be_measured_is_said_at_once():
    with pytest.raises(MetricError, match="gan-jax weights get vgg16"):
        evaluate_model("embedded:fashion16", FEW, EvalConfig(features="vgg16"))
    with pytest.raises(MetricError, match="mobilenetv2:big asks for what is not known.*a resolution in px from 32"):
        evaluate_model("embedded:fashion16", FEW, EvalConfig(features="mobilenetv2:big"))
    with pytest.raises(MetricError, match="inception-v3-fid:96 asks .* legacy-tensorflow, legacy-pytorch, clean"):
        evaluate_model("embedded:fashion16", FEW, EvalConfig(features="inception-v3-fid:96"))
    with pytest.raises(ConfigError, match="few training images, but there are .*set data.shots"):
        evaluate_model("embedded:fashion16", DataConfig(), EvalConfig(), "vgg16")
    with pytest.raises(ConfigError, match="evaluate.n_fake asks for 64 images, but fashion-v1 has 64 features"):
        evaluate_model("embedded:fashion16", FEW, EvalConfig(n_fake=64))
