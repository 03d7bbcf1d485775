"""LPIPS as a function: its definition, its symmetry, its gradients, and that it is a squared distance of vectors."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax.nets.features.perceptual import (
    ALEXNET,
    SCALE,
    SHIFT,
    VGG16,
    VGG19,
    embed,
    lpips,
    perceptual_layers,
    perceptual_specs,
    stage_maps,
    vgg19_specs,
)
from gan_jax.nets.features.steps import Conv, Pool
from tests.nets.features.random import random_params

SMALL = ((Conv("conv0", 5, (3, 3), 2),), (Pool("max", stride=2), Conv("conv1", 7, (3, 3), padding=(1, 1))))
PARAMS = random_params(perceptual_specs(SMALL), 0)


def pictures(n=2, size=15, seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, (n, size, size, 3)), jnp.float32)


def test_it_is_the_formula():
    a, b = pictures(seed=1), pictures(seed=2)
    run = jax.jit(lambda images: perceptual_layers(PARAMS, SMALL, images))
    layers = [[np.asarray(x, np.float64) for x in run(images)] for images in (a, b)]
    expected = np.zeros(2)
    for index, (x, y) in enumerate(zip(*layers, strict=True)):
        unit = [maps / (np.sqrt((maps**2).sum(-1, keepdims=True)) + 1e-10) for maps in (x, y)]
        weight = np.asarray(PARAMS[f"head{index}"]["weight"], np.float64)
        expected += (((unit[0] - unit[1]) ** 2) * weight).sum(-1).mean((1, 2))
    assert expected.min() > 0.05
    assert_allclose(jax.jit(lambda a, b: lpips(PARAMS, SMALL, a, b))(a, b), expected, rtol=1e-4)


def test_images_are_shifted_and_scaled_first():
    x = pictures()
    first = perceptual_layers(PARAMS, SMALL, x)[0]
    kernel = np.asarray(PARAMS["conv0"]["kernel"], np.float64)
    patch = (np.asarray(x, np.float64)[0, :3, :3] - SHIFT) / SCALE
    expected = np.maximum(np.einsum("hwi,hwio->o", patch, kernel) + np.asarray(PARAMS["conv0"]["bias"]), 0)
    assert_allclose(first[0, 0, 0], expected, rtol=1e-4, atol=1e-5)


def test_vgg19_gives_the_first_layer_of_each_stage():
    x = jax.ShapeDtypeStruct((1, 64, 32, 3), jnp.float32)
    maps = jax.eval_shape(lambda params, x: stage_maps(params, VGG19, x), vgg19_specs(), x)
    assert [y.shape for y in maps] == [
        (1, 64, 32, 64), (1, 32, 16, 128), (1, 16, 8, 256), (1, 8, 4, 512), (1, 4, 2, 512),
    ]  # fmt: skip
    counts = [sum(isinstance(step, Conv) for step in steps) for steps in VGG19]
    assert counts == [1, 2, 2, 4, 4] == [len([step for step in steps if step != Pool("max", 2, 2)]) for steps in VGG19]
    assert [steps[-2] == Pool("max", 2, 2) for steps in VGG19[1:]] == [True] * 4, "the pool is before the last layer"


def test_it_is_symmetric_and_zero_on_itself():
    a, b = pictures(seed=1), pictures(seed=2)
    assert_allclose(lpips(PARAMS, SMALL, a, b), lpips(PARAMS, SMALL, b, a), rtol=1e-6)
    assert_allclose(lpips(PARAMS, SMALL, a, a), 0, atol=0)


def test_it_is_the_squared_distance_of_vectors():
    a, b = pictures(seed=1), pictures(seed=2)
    one, other = (np.asarray(embed(PARAMS, SMALL, images), np.float64) for images in (a, b))
    assert one.shape == (2, 7 * 7 * 5 + 3 * 3 * 7)
    assert_allclose(((one - other) ** 2).sum(1), lpips(PARAMS, SMALL, a, b), rtol=1e-4)


def test_its_gradient_is_that_of_differences_and_finite_where_nothing_is_active():
    a, b = pictures(1, seed=1), pictures(1, seed=2)
    loss = lambda x: lpips(PARAMS, SMALL, x, b).sum()  # noqa: E731
    dead = {**PARAMS, "conv0": {**PARAMS["conv0"], "bias": jnp.full(5, -1e3)}}

    @jax.jit
    def run(a):
        slope, h = jax.grad(loss)(a), 1e-2
        way = slope / jnp.linalg.norm(slope)
        change = (loss(a + h * way) - loss(a - h * way)) / (2 * h)
        return change, jnp.linalg.norm(slope), jax.grad(lambda x: lpips(dead, SMALL, x, b).sum())(a)

    change, length, silent = run(a)
    assert_allclose(change, length, rtol=0.02)
    assert np.isfinite(silent).all()


@pytest.mark.parametrize(
    ("stages", "size", "expected"),
    [(ALEXNET, 64, [(15, 64), (7, 192), (3, 384), (3, 256), (3, 256)]),
     (VGG16, 64, [(64, 64), (32, 128), (16, 256), (8, 512), (4, 512)])],
    ids=["alexnet", "vgg16"],
)  # fmt: skip
def test_layers_have_the_papers_shapes(stages, size, expected):
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    layers = jax.eval_shape(lambda params, x: perceptual_layers(params, stages, x), perceptual_specs(stages), images)
    assert [layer.shape[2:] for layer in layers] == expected
