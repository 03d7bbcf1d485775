"""Evaluations through feature networks of the cache: what the numbers are called, and what is said before training."""

from __future__ import annotations

import numpy as np
import pytest

from gan_jax.config import ConfigError, DataConfig, EvalConfig, ResNetConfig
from gan_jax.data import Images
from gan_jax.metrics import Features, MetricError
from gan_jax.nets import build
from gan_jax.transfer import evaluation
from gan_jax.transfer.dataset import Dataset
from gan_jax.transfer.evaluation import Evaluator, make_evaluator
from gan_jax.transfer.measuring import evaluate_model
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
    assert names[at + 1 : at + 3] == ["intra-cluster LPIPS (Tiny)", "occupied clusters (Tiny)"]
    assert names[at + 3 :] == ["note"]  # what reading the images lost
    assert numbers["intra-cluster LPIPS (Tiny)"] > 0 and 1 <= numbers["occupied clusters (Tiny)"] <= 4
    assert "FD (fashion-v1)" in names[:at]


def test_what_makes_numbers_say_little_stands_beside_them(monkeypatch):
    """One image only: the distance is finite, and the word for it is said; so are copies in the reference."""
    monkeypatch.setattr(Evaluator, "sample", lambda self, g_vars: np.full((70, 16, 16, 1), 17, np.uint8))
    varied = np.random.default_rng(0).integers(0, 256, (70, 16, 16, 1), np.uint8)
    said = "mode collapse: all 70 generated images", "70 of 70 real samples lie more than 5 times"
    for pixels, sentence in zip((varied, np.full_like(varied, 99)), said, strict=True):
        images = Images(pixels, name="x")
        monkeypatch.setattr(evaluation, "load_dataset", lambda config, images=images: Dataset(images, images, False))
        numbers = evaluate_model("embedded:fashion16", FEW, EvalConfig(n_fake=70, stats_batches=0))
        assert np.isfinite(next(value for name, value in numbers.items() if name.startswith("FD")))
        assert sentence in numbers["note"]


def test_what_cannot_be_measured_is_said_at_once():
    with pytest.raises(MetricError, match="gan-jax weights get vgg16"):
        evaluate_model("embedded:fashion16", FEW, EvalConfig(features="vgg16"))
    with pytest.raises(MetricError, match="mobilenetv2:big has an unknown option.*a resolution in px from 32"):
        evaluate_model("embedded:fashion16", FEW, EvalConfig(features="mobilenetv2:big"))
    with pytest.raises(
        MetricError, match="inception-v3-fid:96 has an unknown option.* legacy-tensorflow, legacy-pytorch, clean"
    ):
        evaluate_model("embedded:fashion16", FEW, EvalConfig(features="inception-v3-fid:96"))
    with pytest.raises(ConfigError, match="few training images, but there are .*set data.shots"):
        evaluate_model("embedded:fashion16", DataConfig(), EvalConfig(), "vgg16")


def test_few_images_leave_the_frechet_distance_out_and_say_so():
    """A run of 40 images, all trained on, and 64 samples: neither side has more images than 64 features."""
    few = DataConfig(classes=(9,), shots=1000)
    numbers = evaluate_model("embedded:fashion16", few, EvalConfig(n_fake=64, stats_batches=0))
    assert (
        "FD (fashion-v1)" not in numbers and numbers["KID (fashion-v1)"] > 0 and numbers["precision (fashion-v1)"] >= 0
    )
    assert "no held-out reference: evaluations compare with all 1,000 images" in numbers["note"]
    assert "no Frechet distance: it needs more images than features" in numbers["note"]
    assert "there are 64 generated ones" in numbers["note"]


NET = ResNetConfig(resolution=16)


def evaluator_of(n: int, *, n_fake: int = 70, held_out: bool = False, shots: bool = True):
    images = Images(np.random.default_rng(0).integers(0, 256, (n, 16, 16, 1), np.uint8), name="folder:mine")
    found = make_evaluator(EvalConfig(n_fake=n_fake), build(NET), Dataset(images, images, held_out, shots))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("n", "n_fake", "measured"),
    [
        (1, 70, {"is", "is_std", "class_kl"}),
        (2, 70, {"kid", "kid_std", "precision", "recall", "density", "coverage", "is", "is_std", "class_kl"}),
        (5, 3, {"kid", "kid_std", "precision", "recall", "density", "coverage", "is", "is_std", "class_kl"}),
        (64, 70, {"kid", "kid_std", "precision", "recall", "density", "coverage", "is", "is_std", "class_kl"}),
        (65, 70, {"fd", "kid", "kid_std", "precision", "recall", "density", "coverage", "is", "is_std", "class_kl"}),
    ],
)
def test_whatever_so_many_images_allow_is_measured(n, n_fake, measured):
    evaluator = evaluator_of(n, n_fake=n_fake)
    draw = np.random.default_rng(1)
    fake = Features(
        draw.normal(size=(n_fake, 64)).astype(np.float32), draw.normal(size=(n_fake, 10)).astype(np.float32)
    )
    numbers = evaluator.numbers(fake)
    assert set(numbers) == measured and np.isfinite(list(numbers.values())).all()
    assert any(note.startswith("no Frechet distance: ") for note in evaluator.notes) == (n <= 64)


def test_a_reference_that_is_trained_on_is_another_protocol():
    seen, held_out = evaluator_of(70), evaluator_of(70, held_out=True)
    assert seen.protocol.id != held_out.protocol.id
    assert "which are trained on" in "\n".join(seen.protocol.describe())
    # what could be measured before protocols recorded it keeps its name
    assert evaluator_of(70, shots=False).protocol.id == held_out.protocol.id
    assert evaluator_of(60, shots=False).protocol.seen
