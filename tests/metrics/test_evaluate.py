"""The protocol names what was measured; `evaluate_features` measures exactly that."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax.metrics import (
    FeatureNet,
    Features,
    MetricError,
    Protocol,
    class_kl,
    evaluate_features,
    frechet_distance,
    inception_score,
    kid,
    make_protocol,
    prdc,
    summarise,
    unmeasurable,
)
from gan_jax.metrics.networks import FID_RESIZES, FID_WEIGHTS
from tests.metrics import golden

NET = FeatureNet("fashion-v1", "ab" * 32, 16, 10, 32, 1, apply=lambda images: (images, images))
REAL = Features(golden.X.astype(np.float32), golden.LOGITS.astype(np.float32), NET.identity)
FAKE = Features(golden.Z[:200].astype(np.float32), golden.LOGITS[:200].astype(np.float32), NET.identity)


def protocol(**options) -> Protocol:
    return make_protocol(NET, **{"channels": 1, "n_real": 300, "n_fake": 200, "reference_hash": "cd" * 32, **options})


def test_every_number_is_the_one_of_its_own_function():
    numbers = evaluate_features(REAL, FAKE, protocol(kid_subsets=7, kid_subset_size=50, prdc_k=3, is_splits=4, seed=2))
    spread = kid(REAL.values, FAKE.values, subsets=7, subset_size=50, seed=2)
    balls = prdc(REAL.values, FAKE.values, 3)
    score = inception_score(FAKE.logits, 4)
    expected = {
        "fd": frechet_distance(summarise(REAL.values), summarise(FAKE.values)),
        "kid": spread.mean,
        "kid_std": spread.std,
        "precision": balls.precision,
        "recall": balls.recall,
        "density": balls.density,
        "coverage": balls.coverage,
        "is": score.mean,
        "is_std": score.std,
        "class_kl": class_kl(REAL.logits, FAKE.logits),
    }
    assert list(numbers) == list(expected)
    assert_allclose(list(numbers.values()), list(expected.values()), rtol=1e-12)
    assert_allclose(numbers["precision"], 0.335)
    assert all(type(value) is float for value in numbers.values())


def test_options_of_the_protocol_reach_the_metrics():
    over_n = evaluate_features(REAL, FAKE, protocol(fd_ddof=0))["fd"]
    assert_allclose(over_n, frechet_distance(summarise(REAL.values), summarise(FAKE.values), ddof=0), rtol=1e-12)
    few = protocol(n_fake=10, is_splits=2)
    without = evaluate_features(REAL, FAKE.take(range(10)), few)
    assert list(without) == ["kid", "kid_std", "precision", "recall", "density", "coverage", "is", "is_std", "class_kl"]
    (note,) = without.notes
    assert note.startswith("no Frechet distance") and "17 of each side" in note and "10 generated ones" in note
    allowed = dataclasses.replace(few, fd_allow_singular=True)
    assert evaluate_features(REAL, FAKE.take(range(10)), allowed)["fd"] > 0
    assert allowed.id != few.id


def test_what_is_not_defined_for_so_few_images_is_left_out_with_a_reason():
    few = protocol(n_real=4, n_fake=5, kid_subset_size=5)
    numbers = evaluate_features(REAL.take(range(4)), FAKE.take(range(5)), few)
    assert list(numbers) == ["class_kl"]
    starts = ("no Frechet distance", "no KID: subsets of 5", "no precision, recall", "no score: 5 generated images")
    assert [note.startswith(start) for note, start in zip(numbers.notes, starts, strict=True)] == [True] * 4
    assert set(unmeasurable(few, 16)) == {
        "fd",
        "kid",
        "kid_std",
        "precision",
        "recall",
        "density",
        "coverage",
        "is",
        "is_std",
    }
    assert unmeasurable(protocol(), 16) == {}
    pair = evaluate_features(
        REAL.take(range(2)), FAKE.take(range(2)), protocol(n_real=2, n_fake=2, prdc_k=1, is_splits=1)
    )
    assert set(pair) == {"kid", "kid_std", "precision", "recall", "density", "coverage", "is", "is_std", "class_kl"}
    one = [dataclasses.replace(x.take([0]), logits=None) for x in (REAL, FAKE)]
    with pytest.raises(MetricError, match="nothing can be measured of 1 real and 1 generated images: no Frechet"):
        evaluate_features(*one, protocol(n_real=1, n_fake=1))
    assert "KID" not in unmeasurable(protocol(n_real=1), 16)["fd"]  # which one image does not have either
    with pytest.raises(MetricError, match="row 1 of fake features"):
        broken = np.where(np.arange(4)[:, None] == 1, np.inf, FAKE.values[:4])
        evaluate_features(REAL, Features(broken), protocol(n_fake=4))


def test_a_generator_that_makes_one_image_is_measured_and_named():
    one = FAKE.take(np.zeros(200, int))
    numbers = evaluate_features(REAL, one, protocol())
    expected = np.square(golden.X.mean(0) - one.values[0]).sum() + golden.X.var(0, ddof=1).sum()
    assert_allclose(numbers["fd"], expected, rtol=1e-6)
    assert (numbers["recall"], numbers["is"]) == (0.0, 1.0)
    assert numbers.notes == ("mode collapse: all 200 generated images have the same features",)
    nearly = dataclasses.replace(one, values=one.values * (1 + 1e-7 * golden.Z[:200]).astype(np.float32))
    assert "mode collapse" in evaluate_features(REAL, nearly, protocol()).notes[0]
    assert evaluate_features(REAL, FAKE, protocol()).notes == ()


def test_references_full_of_copies_are_named():
    copies = Features(REAL.values[np.arange(300) % 30], None, NET.identity)
    numbers = evaluate_features(copies, FAKE, protocol(prdc_k=3))
    assert numbers["precision"] == 0 and numbers.notes[0].startswith("300 of 300 real samples lie more than 3 times")


def test_without_logits_there_is_no_score():
    assert "is" not in evaluate_features(REAL, dataclasses.replace(FAKE, logits=None), protocol())


def test_features_must_be_what_the_protocol_says():
    with pytest.raises(MetricError, match="300 real features, but protocol .* n_real = 900"):
        evaluate_features(REAL, FAKE, protocol(n_real=900))
    with pytest.raises(MetricError, match="200 fake features, but protocol .* n_fake = 2000"):
        evaluate_features(REAL, FAKE, protocol(n_fake=2000))
    other = dataclasses.replace(FAKE, extractor="inception@0123")
    with pytest.raises(MetricError, match="fake features come from inception@0123, but protocol .* fashion-v1@abab"):
        evaluate_features(REAL, other, protocol())
    narrow = dataclasses.replace(FAKE, values=FAKE.values[:, :5])
    with pytest.raises(MetricError, match="16 and of 5 dimensions"):
        evaluate_features(REAL, narrow, protocol())
    broken = FAKE.values.copy()
    broken[8, 0] = np.nan
    with pytest.raises(MetricError, match="row 8 of fake features"):
        evaluate_features(REAL, dataclasses.replace(FAKE, values=broken), protocol())


def test_the_id_is_readable_and_never_changes():
    assert protocol().id == ID
    assert protocol().id == protocol().id
    assert set(ID) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Protocol)])
def test_every_field_is_part_of_the_id(field):
    old = protocol()
    value = getattr(old, field)
    changes = {"colour": "rgb", "resize": "none", "resolution": 64, "truncation": 0.7, "kid_subset_size": 10}
    new = changes[field] if field in changes else not value if isinstance(value, bool) else value + type(value)(1)
    assert dataclasses.replace(old, **{field: new}).id != old.id


def test_it_is_never_called_fid():
    for options in ({}, {"channels": 3}, {"far": True}):
        text = "\n".join(
            [*protocol(**options).describe(), *(protocol(**options).title(m) for m in ("fd", "kid", "is"))]
        )
        assert "FID" not in text
    assert protocol().title("fd") == "FD (fashion-v1)"
    with pytest.raises(MetricError, match="no metric 'fid'; there are fd, kid"):
        protocol().title("fid")


def test_colour_and_far_targets_say_that_numbers_are_relative():
    assert (protocol().colour, protocol().relative_only) == ("grey", False)
    colour = protocol(channels=3)
    assert (colour.colour, colour.relative_only) == ("luminance-of-rgb", True)
    assert colour.title("kid") == "KID (fashion-v1, luminance, relative only)"
    assert "relative only" in colour.describe()[-1]
    assert protocol(far=True).title("kid") == "KID (fashion-v1, relative only)"
    assert len({protocol().id, colour.id, protocol(far=True).id}) == 3
    rgb = make_protocol(dataclasses.replace(NET, channels=3), channels=3, n_real=9, n_fake=9, reference_hash="")
    assert (rgb.colour, rgb.relative_only) == ("rgb", False)


def through(
    name: str, weights_hash: str = "cd" * 32, resolution: int = 299, resize: str = "clean", **options
) -> Protocol:
    net = FeatureNet(name, weights_hash, 16, 10, resolution, 3, apply=NET.apply, resize=resize)
    return make_protocol(net, **{"channels": 3, "n_real": 9, "n_fake": 9, "reference_hash": "", **options})


def test_only_the_fid_network_its_weights_and_its_resizings_are_called_fid():
    for resize in ("clean", "legacy-tensorflow", "legacy-pytorch"):
        fid = through("inception-v3-fid", FID_WEIGHTS, resize=resize)
        assert fid.title("fd") == f"FID ({resize})"
        assert fid.title("kid") == f"KID (FID Inception, {resize})"
    for other in (
        through("inception-v3-fid"),  # other weights
        through("inception-v3-fid", FID_WEIGHTS, resize="antialiased-bicubic"),
        through("inception-v3-fid", FID_WEIGHTS, resolution=128),
        through("mobilenetv2", FID_WEIGHTS, resolution=96, resize="antialiased-bicubic"),
    ):
        text = "\n".join([*other.describe(), *(other.title(metric) for metric in ("fd", "kid", "is"))])
        assert "FID" not in text, text
    assert through("mobilenetv2", resolution=96).title("fd") == "FD (MobileNetV2 96 px)"
    assert through("vgg16", resolution=64).title("precision") == "precision (VGG16 64 px)"


def test_every_way_of_resizing_is_another_protocol():
    assert len({through("inception-v3-fid", FID_WEIGHTS, resize=resize).id for resize in FID_RESIZES}) == 3
    assert len({through("mobilenetv2", resolution=resolution).id for resolution in (96, 224)}) == 2


def test_grey_images_through_a_network_of_colours():
    grey = through("mobilenetv2", resolution=96, channels=1)
    assert (grey.colour, grey.relative_only) == ("grey-repeated", False)
    assert grey.id != through("mobilenetv2", resolution=96).id


def test_fields_that_came_later_leave_old_ids_alone():
    assert protocol(cluster_members=50).id == ID
    assert len({protocol(cluster_members=n).id for n in (2, 50, 51)}) == 3


def test_description_holds_what_a_reader_must_know():
    text = "\n".join(protocol(stats_latents=2048, ema=False, truncation=0.7, seed=5).describe())
    for part in ("fashion-v1", "abab", "300 images", "cdcd", "200 images", "seed 5", "raw weights", "psi 0.7", "2048 fresh",
                 "100 subsets of 200", "k = 5", "10 splits", "n - 1", "32 px"):  # fmt: skip
        assert part in text, part


ID = "fashion-v1-r300-f200-8d075bdb"
