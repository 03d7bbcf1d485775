"""The command behind the embedded weights still runs, and what it writes can be loaded."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax.data import Images
from gan_jax.metrics import extract
from gan_jax.metrics.features import load_features_from
from tests.conftest import REPO


@pytest.fixture
def experiment(monkeypatch):
    spec = importlib.util.spec_from_file_location(
        "fashion_classifier_train", REPO / "experiments" / "fashion_classifier" / "train.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_it_learns_saves_and_loads(experiment, tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 256)
    pixels = rng.integers(0, 60, (256, 8, 8, 1)) + 19 * labels[:, None, None, None]  # a class is a brightness
    data = Images(pixels.astype(np.uint8), labels)
    cfg = dataclasses.replace(experiment.config(), epochs=8, batch=32, warmup=4, ema=0.8)
    with jax.numpy_dtype_promotion("standard"):  # optax's bias correction mixes float and int32
        params, history = experiment.train(cfg, data, data)
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]
    assert history[-1]["test_accuracy"] > 0.5
    values, logits = experiment.outputs(params, data)
    params = experiment.set_units(params, values)
    manifest = {"name": "fashion-v1", "dim": 64, "num_classes": 10, "resolution": 8, "channels": 1}
    experiment.save(params, manifest, tmp_path)
    features = extract(load_features_from(tmp_path), data.images)
    assert features.logits is not None
    assert_allclose(features.logits, logits, atol=1e-3)
    assert_allclose(features.values.std(0), 1.0, atol=1e-3)


def test_augmentation_flips_and_shifts_by_no_more_than_asked(experiment):
    images = np.zeros((400, 9, 9, 1), np.uint8)
    images[:, 4, 3] = 255  # one pixel left of the middle
    rows, columns = np.nonzero(experiment.augment(images, 1, np.random.default_rng(0)).sum(0)[..., 0])
    assert set(rows.tolist()) == {3, 4, 5}
    assert set(columns.tolist()) == {2, 3, 4, 5, 6}  # 3 or, flipped, 5; each moved by up to 1
