"""A feature network as the source of a translator's encoder, through the cache, and what is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import numpy as np
import pytest
from safetensors.numpy import save

import gan_jax
from gan_jax.config import Config, ConfigError, DCGANConfig, FinetuneConfig, LossConfig, PairedTask, UNetConfig
from gan_jax.metrics.networks import MANIFEST, NETWORKS, WEIGHTS, network_folder
from gan_jax.metrics.statistics import MetricError
from gan_jax.nets.features.steps import Conv, Pool, leaf_specs
from gan_jax.surgery import PlanError
from gan_jax.surgery.families.features import ENCODERS, FeatureNetwork
from gan_jax.tasks import networks_of
from gan_jax.transfer.diagnostics.sources import look_at
from gan_jax.transfer.methods import make_method
from gan_jax.transfer.source import open_source
from gan_jax.transfer.start import make_start, plan_transfer
from gan_jax.trees import flatten
from tests.nets.features.random import random_params

STEPS = (
    Conv("conv0", 4, (3, 3), padding=(1, 1)),
    Conv("conv1", 4, (3, 3), padding=(1, 1)),
    Pool("max", 2, 2),
    Conv("conv2", 8, (3, 3), padding=(1, 1)),
)
NET = UNetConfig(8, 3, 3, width=4, depth=3, d_width=4, d_layers=1)


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """Weights of a small network as if they were published, by leaf, in a cache of their own."""
    specs = leaf_specs(STEPS)
    monkeypatch.setitem(ENCODERS, "tiny", FeatureNetwork("tiny", "Tiny", STEPS, (0.5, 1.0, 2.0)))
    monkeypatch.setitem(NETWORKS, "tiny", dataclasses.replace(NETWORKS["vgg16"], specs=lambda: specs))
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path))
    leaves = {path: np.asarray(leaf) for path, leaf in flatten(random_params(specs, 0)).items()}
    raw, folder = save(leaves), network_folder("tiny")
    folder.mkdir(parents=True)
    (folder / WEIGHTS).write_bytes(raw)
    source = {"file": "tiny.pth", "sha256": "ab" * 32}
    about = {"name": "tiny", "sha256": hashlib.sha256(raw).hexdigest(), "licence": "MIT", "source": source}
    (folder / MANIFEST).write_text(json.dumps(about))
    return leaves


def config_of(**transfer):
    options = {"source": "features:tiny", "networks": "g", "unused": "drop", **transfer}
    return Config(net=NET, task=PairedTask(), loss=LossConfig("least_squares"), transfer=FinetuneConfig(**options))


def test_an_encoder_is_filled_and_its_origin_kept(tiny, tmp_path):
    variables, plan, _ = result = gan_jax.transplant("features:tiny", NET, unused="drop")
    assert set(variables) == {"g_ema"} and result.measured == "not measured: a feature network makes no images"
    moved = {entry.target: entry.op for entry in plan.entries if entry.sources}
    assert moved == {
        "g_ema/params/down1/conv/kernel": "fold_convs+mix+fuse_down",
        "g_ema/params/down2/conv/kernel": "fold_convs",
    }
    assert plan.notes[0].startswith("Tiny -> UNet: leaves are moved by their role and the function is not preserved")
    kernel = variables["g_ema"]["params"]["down1"]["conv"]["kernel"]  # conv0 before means of 2x2 px: by hand
    scaled = tiny["conv0/kernel"] / np.array([0.5, 1.0, 2.0], np.float32)[None, None, :, None]
    np.testing.assert_allclose(kernel[0, 0], scaled[0, 0] / 4, rtol=1e-5)
    np.testing.assert_allclose(kernel[1, 1], scaled[:2, :2].sum((0, 1)) / 4, rtol=1e-4, atol=1e-6)
    result.save(tmp_path / "out")
    text = gan_jax.provenance(tmp_path / "out", "g_ema/params/down1/conv/kernel")
    assert "copy <- conv0/kernel of tiny.pth" in text
    assert "imported from tiny.pth (sha256 abababababab), layout tiny" in text
    assert "<- e/params/conv0/kernel @" in text
    assert gan_jax.load(tmp_path / "out").manifest["licence"] == "MIT"


def test_a_run_starts_its_generator_from_it(tiny):
    config = config_of()
    networks = networks_of(config)
    start = make_start(config, networks, make_method(config.transfer, networks))
    kernel = start.nets["g"]["params"]["down2"]["conv"]["kernel"]
    alone = gan_jax.transplant("features:tiny", NET, unused="drop").variables["g_ema"]["params"]["down2"]["conv"][
        "kernel"
    ]
    np.testing.assert_array_equal(kernel, alone)
    assert np.std(kernel) > 0.03, "fresh kernels have a deviation of 0.02"
    np.testing.assert_allclose(np.std(start.nets["d"]["params"]["layer1"]["conv"]["kernel"]), 0.02, rtol=0.2)


def test_what_it_does_not_have_is_said(tiny):
    with pytest.raises(PlanError, match="features:tiny holds no discriminator; take the generator alone.*networks g"):
        plan_transfer(config_of(networks="both"))
    with pytest.raises(PlanError, match="source leaf 'e/params/conv0/bias'.*is read by nothing.*unused='drop'"):
        plan_transfer(config_of(unused="error"))
    with pytest.raises(
        PlanError, match="features:tiny fills the encoder of networks from images to images: use one of unet, tr"
    ):
        gan_jax.transplant("features:tiny", DCGANConfig(resolution=16), unused="drop")
    with pytest.raises(ConfigError, match="--checkpoint 5 needs a run folder, and features:tiny is a feature network"):
        open_source("features:tiny", 5)
    with pytest.raises(ConfigError, match="no feature network 'alexnet' to take an encoder from"):
        open_source("features:alexnet")
    with pytest.raises(ConfigError, match="features:tiny fills the encoder .*, and the data are images alone; name a"):
        look_at("features:tiny")


def test_weights_that_are_not_there_come_with_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path))
    for name in ("vgg16", "mobilenetv2"):
        with pytest.raises(MetricError, match=f"the weights of {name} are not in .*: gan-jax weights get {name}"):
            gan_jax.transplant(f"features:{name}", NET, unused="drop")


def test_a_source_is_the_same_on_another_day(tiny, monkeypatch):
    first = open_source("features:tiny")
    monkeypatch.setattr("gan_jax.surgery.provenance.versions", lambda: {"jax": "another"})
    assert open_source("features:tiny").digest == first.digest
    assert first.what == "feature network: Tiny" and first.net.name == "tiny"
