"""Feature networks as graphs: leaves as many as the reference has, shapes, paddings, folded statistics."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.nets.features import classifiers, inception_v3, perceptual
from gan_jax.nets.features.steps import (
    Conv,
    Pool,
    Residual,
    convolve,
    convs,
    fold,
    leaf_specs,
    max_pool,
    mean_pool,
    run_steps,
    width_of,
)
from gan_jax.trees import flatten
from tests.nets.features.random import random_params

TRAINED = {  # values that were trained, and tensors of the state dict, as the references have them
    "inception": (inception_v3.inception_v3_specs, 23_850_960, 566),
    "mobilenet": (classifiers.mobilenet_v2_specs, 3_504_872, 314),
    "efficientnet-lite0": (classifiers.efficientnet_lite0_specs, 4_652_008, 296),
    "alexnet": (lambda: perceptual.perceptual_specs(perceptual.ALEXNET), 2_469_696 + 1_152, 15),
    "vgg16": (lambda: perceptual.perceptual_specs(perceptual.VGG16), 14_714_688 + 1_472, 31),
    "vgg19": (perceptual.vgg19_specs, 20_024_384 - 3 * (9 * 512 + 1) * 512, 26),  # less the layers behind relu5_1
    "lenet": (classifiers.lenet_specs, 61_706, 10),
}


@pytest.mark.parametrize("name", TRAINED)
def test_there_are_as_many_values_as_in_the_reference(name):
    specs, values, tensors = TRAINED[name]
    leaves = flatten(specs())
    trained = [leaf for path, leaf in leaves.items() if not path.endswith(("mean", "var"))]
    assert sum(int(np.prod(leaf.shape)) for leaf in trained) == values
    counters = sum(path.endswith("mean") for path in leaves)  # torch counts batches in a tensor beside each
    assert len(leaves) + counters == tensors


def test_inception_at_every_stage_has_the_papers_sizes():
    """Width and height after each step, from 299 px."""
    expected = [(149, 32), (147, 32), (147, 64), (73, 64), (73, 80), (71, 192), (35, 192), (35, 256), (35, 288), (35, 288),
                (17, 768), (17, 768), (17, 768), (17, 768), (17, 768), (8, 1280), (8, 2048), (8, 2048)]  # fmt: skip
    params, x = inception_v3.inception_v3_specs(), jax.ShapeDtypeStruct((1, 299, 299, 3), jnp.float32)
    for step, (side, width) in zip(inception_v3.STEPS, expected, strict=True):
        x = jax.eval_shape(lambda params, x, step=step: run_steps(params, (step,), x), params, x)
        assert x.shape == (1, side, side, width), step


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(classifiers.MOBILENET_V2_STEPS, 7), (classifiers.EFFICIENTNET_LITE0_STEPS, 7)],
    ids=["v2", "lite0"],
)
def test_mobile_networks_shrink_32_times_and_have_their_blocks(steps, expected):
    x = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    out = jax.eval_shape(lambda params, x: run_steps(params, steps, x), leaf_specs(steps), x)
    assert out.shape == (1, expected, expected, 1280) and width_of(steps, 3) == 1280
    blocks = {conv.path.split("/")[0] for conv, _ in convs(steps, 3)} - {"stem", "head"}
    assert len(blocks) == (17 if steps is classifiers.MOBILENET_V2_STEPS else 16)
    assert sum(isinstance(step, Residual) for step in steps) == (10 if len(blocks) == 17 else 9)


def test_padding_same_is_tensorflows():
    """3x3 with stride 2 on an even size: nothing before, one pixel after."""
    x = np.zeros((1, 4, 4, 1), np.float32)
    x[0, 0, 0, 0] = 1
    params = {"a": {"kernel": jnp.arange(9, dtype=jnp.float32).reshape(3, 3, 1, 1), "bias": jnp.zeros(1)}}
    same = run_steps(params, (Conv("a", 1, (3, 3), 2, "SAME", activation=None),), jnp.asarray(x))
    both = run_steps(params, (Conv("a", 1, (3, 3), 2, (1, 1), activation=None),), jnp.asarray(x))
    assert (float(same[0, 0, 0, 0]), float(both[0, 0, 0, 0])) == (0.0, 4.0)
    for size, stride, length in ((3, 1, 5), (3, 2, 5), (5, 2, 8), (5, 2, 7)):
        kernel = jnp.ones((size, size, 1, 2))
        z = jnp.asarray(np.random.default_rng(0).normal(size=(1, length, length, 1)), jnp.float32)
        expected = jax.lax.conv_general_dilated(
            z, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        conv = Conv("a", 2, (size, size), stride, "SAME", activation=None)
        found = run_steps({"a": {"kernel": kernel, "bias": jnp.zeros(2)}}, (conv,), z)
        assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(("size", "stride", "padding"), [(3, 1, 1), (3, 2, 0), (2, 2, 0), (3, 2, 1)])
def test_pools_are_those_of_a_loop_over_windows(size, stride, padding):
    x = np.random.default_rng(1).normal(size=(2, 7, 9, 3)).astype(np.float32) - 2  # padding with zeros would win
    rows = range(-padding, 7 + padding - size + 1, stride)
    columns = range(-padding, 9 + padding - size + 1, stride)
    window = lambda i, j: x[:, max(i, 0) : i + size, max(j, 0) : j + size]  # noqa: E731  what lies in the image
    expected = {
        pool: np.stack([np.stack([pool(window(i, j), axis=(1, 2)) for j in columns], 1) for i in rows], 1)
        for pool in (np.max, np.mean)
    }
    assert_array_equal(max_pool(jnp.asarray(x), size, stride, padding), expected[np.max])
    assert_allclose(mean_pool(jnp.asarray(x), size, stride, padding), expected[np.mean], rtol=1e-5)


@pytest.mark.parametrize("form", [max_pool, mean_pool])
def test_pools_are_the_same_on_every_platform(form, monkeypatch):
    x = jnp.asarray(np.random.default_rng(2).normal(size=(1, 7, 7, 2)), jnp.float32)
    slices = form(x, 3, 2, 1)
    monkeypatch.setattr("gan_jax.nets.features.steps.is_closed", lambda: False)
    assert_allclose(slices, form(x, 3, 2, 1), rtol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_convolutions_are_the_same_on_every_platform(stride, monkeypatch):
    rng = np.random.default_rng(3)
    x, kernel = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((2, 9, 8, 4), (5, 3, 1, 4)))
    slices = convolve(x, kernel, stride, ((2, 1), (0, 1)))
    monkeypatch.setattr("gan_jax.nets.features.steps.is_closed", lambda: False)
    assert_allclose(slices, convolve(x, kernel, stride, ((2, 1), (0, 1))), rtol=1e-4, atol=1e-5)


def test_folded_statistics_are_the_same_function():
    steps = (Conv("a", 4, (3, 3), eps=1e-3), Pool("max"), Conv("b", None, (3, 3), padding=(1, 1), eps=0.1))
    params = random_params(leaf_specs(steps), 0)
    folded = fold(params, steps)
    assert {path: set(layer) for path, layer in folded.items()} == {"a": {"kernel", "bias"}, "b": {"kernel", "bias"}}
    x = jnp.asarray(np.random.default_rng(4).normal(size=(2, 12, 12, 3)), jnp.float32)
    whole = run_steps(params, steps, x)
    assert float(whole.max()) > 0.5
    assert_allclose(run_steps(folded, steps, x), whole, atol=1e-5)


def test_inception_score_is_of_logits_without_bias(monkeypatch):
    params = random_params({"fc": inception_v3.inception_v3_specs()["fc"]}, 5)
    monkeypatch.setattr(inception_v3, "run_steps", lambda params, steps, x: x)  # its graph takes seconds to compile
    maps = jnp.asarray(np.random.default_rng(5).normal(size=(2, 3, 3, 2048)), jnp.float32)
    features, logits = inception_v3.apply_inception_v3(params, maps)
    assert_allclose(features, np.asarray(maps).mean((1, 2)), atol=1e-6)
    assert_allclose(logits, np.asarray(features) @ np.asarray(params["fc"]["kernel"]), rtol=1e-3, atol=1e-3)
    assert float(jnp.abs(params["fc"]["bias"]).max()) > 0.1
