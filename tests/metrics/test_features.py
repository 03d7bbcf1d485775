"""Extractors: one loop for every source of images, independent of batches and devices; the embedded network."""

from __future__ import annotations

import dataclasses
import json
import shutil
from importlib import resources

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.data import load, resize, to_channels
from gan_jax.metrics import (
    FeatureNet,
    MetricError,
    empty_statistics,
    extract,
    extract_batches,
    frechet_distance,
    load_features,
    summarise,
)
from gan_jax.metrics.features import load_features_from
from gan_jax.nets.features.classifiers import apply_small_conv, calibrate, init_small_conv, set_units


@pytest.fixture(scope="module")
def net() -> FeatureNet:
    return load_features("fashion-v1")


@pytest.fixture(scope="module")
def boots():
    return load("embedded:fashion-mnist", classes=[9])


def random_images(n=37, size=32, channels=1, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, channels), dtype=np.uint8)


# -- the loop ------------------------------------------------------------------------------------


def test_batch_size_does_not_change_features(net):
    images = random_images()
    whole = extract(net, images, batch=37)
    assert whole.values.shape == (37, 64) and whole.values.dtype == np.float32
    assert whole.logits is not None and whole.logits.shape == (37, 10)
    for batch in (1, 8, 64):
        part = extract(net, images, batch=batch)
        assert_allclose(part.values, whole.values, atol=2e-5, rtol=2e-5)
        assert_allclose(part.logits, whole.logits, atol=2e-4, rtol=2e-5)


def test_how_an_iterable_is_cut_does_not_change_a_bit(net):
    images = random_images()
    whole = extract(net, images, batch=8).values
    for cuts in ([5, 6, 30], [20], [0, 37]):
        assert_array_equal(extract(net, iter(np.split(images, cuts)), batch=8).values, whole)


def test_number_of_devices_does_not_change_features_or_the_distance(net, boots):
    images = boots.images[:150]
    one = extract(net, images, batch=48)
    for count in (2, 8):
        several = extract(net, images, batch=48, devices=jax.devices()[:count])
        assert_allclose(several.values, one.values, atol=2e-5, rtol=2e-5)
        other = summarise(extract(net, boots.images[150:300]).values)
        distances = [frechet_distance(summarise(f.values), other) for f in (one, several)]
        assert_allclose(*distances, rtol=1e-5)


def test_a_stream_too_large_to_hold_goes_into_statistics(net):
    images = random_images()
    stream = (summarise(values) for values, _ in extract_batches(net, images, batch=10))
    streamed = sum(stream, empty_statistics(64))
    whole = summarise(extract(net, images, batch=10).values)
    assert streamed.n == 37
    assert_allclose(streamed.covariance(), whole.covariance(), rtol=1e-10, atol=1e-12)


def test_any_function_is_an_extractor():
    images = random_images(n=10, size=4, channels=3)
    features = extract(lambda batch: batch.reshape(len(batch), -1) / 255, images, batch=4)
    assert_allclose(features.values, images.reshape(10, -1) / 255, rtol=1e-6)
    assert (features.logits, features.extractor) == (None, "")
    both = extract(lambda batch: (jnp.zeros((len(batch), 2)), jnp.ones((len(batch), 3))), images, batch=4)
    assert both.logits is not None and both.logits.shape == (10, 3)


def test_one_compilation_serves_all_batches(net):
    from gan_jax.metrics.features import _apply_from_uint8

    extract(net, random_images(n=16), batch=16)
    before = _apply_from_uint8._cache_size()
    extract(net, random_images(n=41), batch=16)
    assert _apply_from_uint8._cache_size() == before


def test_a_network_says_how_many_images_it_takes_at_a_time(net):
    sizes = []

    def apply(images):
        sizes.append(len(images))
        return net.apply(images)

    small = dataclasses.replace(net, apply=apply, batch=5)
    extract(small, random_images(n=12))
    extract(small, random_images(n=4), batch=2)
    assert sizes == [5, 5, 5, 2, 2]


def test_take_keeps_rows_together(net):
    features = extract(net, random_images(n=12), batch=12)
    taken = features.take([3, 1])
    assert taken.extractor == features.extractor and len(taken) == 2
    assert taken.logits is not None and features.logits is not None
    assert_array_equal(taken.values, features.values[[3, 1]])
    assert_array_equal(taken.logits, features.logits[[3, 1]])


def test_bad_images():
    identity = lambda batch: batch.reshape(len(batch), -1) / 255  # noqa: E731
    with pytest.raises(MetricError, match=r"float32\[2, 4, 4, 1\].*uint8"):
        extract(identity, np.zeros((2, 4, 4, 1), np.float32))
    with pytest.raises(MetricError, match=r"uint8\[4, 4, 1\]"):
        extract(identity, np.zeros((4, 4, 1), np.uint8))
    with pytest.raises(MetricError, match="there are no images"):
        extract(identity, iter([]))
    with pytest.raises(MetricError, match="there are no images"):
        extract(identity, np.zeros((0, 4, 4, 1), np.uint8))
    with pytest.raises(MetricError, match=r"\[8, 8, 1\] follow images of \[4, 4, 1\]"):
        extract(identity, iter([np.zeros((2, 4, 4, 1), np.uint8), np.zeros((2, 8, 8, 1), np.uint8)]))
    with pytest.raises(MetricError, match="images are a str"):
        extract(identity, "photos/")
    with pytest.raises(MetricError, match="batch 10 does not divide over 4 device"):
        extract(identity, random_images(), batch=10, devices=jax.devices()[:4])


def test_features_that_are_not_finite_name_the_image():
    images = random_images(n=20, size=4)

    def broken(batch):
        values = batch.reshape(len(batch), -1) / 255
        return np.where((batch == images[13]).all((1, 2, 3))[:, None], np.nan, values)

    with pytest.raises(MetricError, match=r"row 13 of the extractor's features"):
        extract(broken, images, batch=8)


# -- the network ---------------------------------------------------------------------------------


def test_the_embedded_network_classifies_as_well_as_its_manifest_says(net):
    test = load("embedded:fashion-mnist")
    rows = slice(0, 2000)
    logits = extract(net, test.images[rows], batch=1000).logits
    assert logits is not None and test.labels is not None
    found = (logits.argmax(1) == test.labels[rows]).mean()
    assert net.meta["test_accuracy"] >= 0.91
    assert_allclose(found, net.meta["test_accuracy"], atol=0.02)


def test_the_embedded_network_is_small_and_named(net):
    folder = resources.files("gan_jax.data") / "embedded" / "fashion-v1"
    assert len((folder / "weights.safetensors").read_bytes()) < 500_000
    assert (net.name, net.dim, net.num_classes, net.resolution, net.channels) == ("fashion-v1", 64, 10, 32, 1)
    assert net.identity == f"fashion-v1@{net.weights_hash[:12]}"
    assert net.meta["licence"] == "Apache-2.0"


def test_images_of_any_size_and_colour_are_prepared_as_the_protocol_says(net):
    grey, colour = random_images(n=3, size=28), random_images(n=3, size=64, channels=4)
    assert_array_equal(net.prepare(grey), resize(grey, 32))
    assert_array_equal(net.prepare(colour), to_channels(resize(colour, 32), 1))
    assert_array_equal(extract(net, grey, batch=3).values, extract(net, resize(grey, 32), batch=3).values)


def test_features_are_in_units_of_their_spread(net):
    values = extract(net, load("embedded:fashion-mnist").images[:2000], batch=1000).values
    assert_allclose(values.mean(0), 0.0, atol=0.2)
    assert_allclose(values.std(0), 1.0, atol=0.2)


def test_calibration_and_units():
    images = jnp.asarray(random_images(n=32, size=8), jnp.float32) / 127.5 - 1
    rng = np.random.default_rng(0)  # compiling jax.random takes longer than all the rest
    shapes = jax.eval_shape(lambda: init_small_conv(jax.random.key(0), 1, 3))
    fresh = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), shapes)
    params = jax.jit(calibrate)(fresh, images)
    apply = jax.jit(apply_small_conv)
    values, logits = (np.asarray(part, np.float64) for part in apply(params, images))
    assert_allclose(values.mean(0), 0.0, atol=1e-3)
    assert_allclose(values.std(0), 1.0, atol=1e-3)
    rescaled = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), set_units(params, 3 * values + 1))
    new_values, new_logits = apply(rescaled, images)
    assert_allclose(new_values, (values - 1) / 3, atol=1e-3)  # the units that 3 v + 1 asks for
    assert_allclose(new_logits, logits, atol=1e-4)  # and the logits never move
    with pytest.raises(ValueError, match="feature 5 hardly varies"):
        set_units(params, values * (np.arange(64) != 5))


def test_unknown_and_damaged_networks(tmp_path):
    with pytest.raises(MetricError, match="no feature network 'fashon-v1'.*did you mean.*fashion-v1"):
        load_features("fashon-v1")
    folder = tmp_path / "net"
    with resources.as_file(resources.files("gan_jax.data") / "embedded" / "fashion-v1") as source:
        shutil.copytree(source, folder)
    assert load_features_from(folder).weights_hash == load_features().weights_hash
    raw = bytearray((folder / "weights.safetensors").read_bytes())
    raw[-100] ^= 1
    (folder / "weights.safetensors").write_bytes(bytes(raw))
    with pytest.raises(MetricError, match="weights.safetensors has sha256.*damaged or was exchanged"):
        load_features_from(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "name": "other"}))
    with pytest.raises(MetricError, match="weights of 'other'"):
        load_features_from(folder)


def test_a_feature_net_is_frozen(net):
    with pytest.raises(dataclasses.FrozenInstanceError):
        net.name = "FID"
