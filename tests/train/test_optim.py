from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose

from gan_jax.config import Config, LossConfig, OptimConfig
from gan_jax.train.optim import apply_updates, lazy_correction, learning_rate, make_adam
from gan_jax.train.step import make_optimizer
from tests.train.games import make_trainer


@pytest.fixture(autouse=True)
def _promotion():
    with jax.numpy_dtype_promotion("standard"):  # optax divides a float by an integer; `apply_updates` allows for it
        yield


def rate(config, images, total=100_000.0):
    return float(learning_rate(config, config.lr, total, jnp.int32(images)))


def test_the_lazy_correction_of_stylegan2():
    """Interval 16: lr .0025 -> .00235294, beta 2 .99 -> .99058546; interval 4: .002 and .99199197."""
    assert_allclose(0.0025 * lazy_correction(16), 0.00235294, rtol=2e-6)
    assert_allclose(0.99 ** lazy_correction(16), 0.99058546, rtol=1e-8)
    assert_allclose(0.0025 * lazy_correction(4), 0.002, rtol=1e-12)
    assert_allclose(0.99 ** lazy_correction(4), 0.99199197, rtol=1e-8)
    assert lazy_correction(1) == 1.0


def test_the_corrected_betas_reach_adam_of_d_alone():
    config = Config(loss=LossConfig(r1_gamma=1.0, penalty_interval=16), optim=OptimConfig(b1=0.5, b2=0.99))
    moments = []
    task = make_trainer(config).task
    of_d, of_g = task.phases
    for phase in (of_g, of_d):
        adam = make_optimizer(config, task, phase)
        _, state = adam.update({"w": jnp.ones(3)}, adam.init({"w": jnp.zeros(3)}))
        moments.append((float(state.mu["w"][0]), float(state.nu["w"][0])))
    assert_allclose(moments, [(0.5, 0.01), (1 - 0.5 ** (16 / 17), 1 - 0.99058546)], rtol=1e-5)


def test_without_penalties_the_interval_means_nothing():
    config = Config(loss=LossConfig(penalty_interval=16), optim=OptimConfig(b2=0.99))
    task = make_trainer(config).task
    adam = make_optimizer(config, task, task.phases[0])
    _, state = adam.update({"w": jnp.ones(3)}, adam.init({"w": jnp.zeros(3)}))
    assert_allclose(state.nu["w"], 0.01, rtol=1e-5)


@pytest.mark.parametrize("clip", [None, 0.1])
def test_updates_are_those_of_optax_adam(clip):
    config = OptimConfig(lr=1e-2, b1=0.3, b2=0.8, clip_norm=clip)
    ours, state = {"w": jnp.array([1.0, -2.0])}, None
    adam = make_adam(config)
    state = adam.init(ours)
    theirs, reference = ours, optax.adam(1e-2, b1=0.3, b2=0.8)
    if clip:
        reference = optax.chain(optax.clip_by_global_norm(clip), reference)
    other = reference.init(theirs)
    for step in range(3):
        grads = {"w": jnp.array([3.0, 4.0 * (step - 1.0)])}
        ours, state = apply_updates(adam, jnp.float32(1e-2), grads, state, ours)
        with jax.numpy_dtype_promotion("standard"):
            updates, other = reference.update(grads, other, theirs)
        theirs = optax.apply_updates(theirs, updates)
    assert_allclose(ours["w"], theirs["w"], rtol=1e-6)


def test_clipping_is_by_the_global_norm():
    adam = make_adam(OptimConfig(clip_norm=1.0, b1=0.0, b2=0.0))
    grads = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    _, state = adam.update(grads, adam.init(grads))
    assert_allclose([state[1].mu["a"][0], state[1].mu["b"][0]], [0.6, 0.8], rtol=1e-6)


@pytest.mark.parametrize(
    ("schedule", "want"), [("constant", (1, 1, 1)), ("linear", (1, 0.5, 0)), ("cosine", (1, 0.5, 0))]
)
def test_schedules_count_images(schedule, want):
    config = OptimConfig(lr=1e-3, schedule=schedule)
    assert_allclose([rate(config, t) for t in (0, 50_000, 100_000)], 1e-3 * np.array(want), atol=1e-9)


def test_cosine_at_a_quarter():
    assert_allclose(rate(OptimConfig(lr=1.0, schedule="cosine"), 25_000), (1 + np.cos(np.pi / 4)) / 2, rtol=1e-6)


def test_warm_up_then_decay():
    config = OptimConfig(lr=1.0, schedule="linear", warmup_kimg=20)
    assert_allclose([rate(config, t) for t in (0, 9_999, 20_000, 60_000)], [1 / 20_000, 0.5, 1.0, 0.5], rtol=1e-5)


def test_the_published_factors_of_late_epochs():
    """CUT's: k = e - 1 steps before epoch e, factor 1 - max(0, k + 1 - 200) / 201; of the run's 400 epochs of 3 images."""
    config = OptimConfig(lr=1.0, schedule="late_linear", decay_from=0.5, decay_steps=200)
    images = jnp.arange(1200)
    got = jax.vmap(lambda n: learning_rate(config, 1.0, 1200, n))(images)
    epoch = np.arange(1200) // 3 + 1
    want = 1 - np.maximum(0, epoch - 200) / 201
    assert_allclose(got, want, rtol=1e-5)
    # numbers of the published code with 100 + 100 epochs: of epochs 100, 101 and 200
    config = dataclasses.replace(config, decay_steps=100)
    facades = [learning_rate(config, 1.0, 80_000, jnp.asarray(400 * (epoch - 1))) for epoch in (100, 101, 200)]
    assert_allclose(facades, [1, 1 - 1 / 101, 1 - 100 / 101], rtol=1e-4)


@pytest.mark.parametrize("images, want", [(0, 1), (74_999, 1), (87_500, 0.5), (100_000, 0)])
def test_a_late_straight_line(images, want):
    config = OptimConfig(lr=1.0, schedule="late_linear", decay_from=0.75)
    assert_allclose(learning_rate(config, 1.0, 100_000, jnp.asarray(images)), want, atol=1e-6)
