from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax.config import EMAConfig
from gan_jax.train.optim import ema_decay, lerp


@pytest.mark.parametrize(("batch", "kimg", "want"), [(32, 10, 0.99778439), (64, 500, 0.99991128)])
def test_published_decays(batch, kimg, want):
    decay = ema_decay(EMAConfig(half_life_kimg=kimg, rampup=None), batch, jnp.int32(0))
    assert_allclose(decay, want, rtol=1e-7)


def test_a_half_life_is_a_half_life():
    decay = float(ema_decay(EMAConfig(half_life_kimg=3.2, rampup=None), 32, jnp.int32(0)))
    assert_allclose(decay**100, 0.5, rtol=1e-4)


def test_the_half_life_is_the_same_whatever_the_batch():
    config = EMAConfig(half_life_kimg=10, rampup=None)
    small, large = (float(ema_decay(config, b, jnp.int32(0))) for b in (16, 64))
    assert_allclose(small**4, large, rtol=1e-6)


def test_ramp_up_bounds_the_half_life_by_the_images_seen():
    config = EMAConfig(half_life_kimg=10, rampup=0.05)
    images = jnp.int32(32_000)  # 5 % of it is 1,600 images
    assert_allclose(ema_decay(config, 32, images), 0.5 ** (32 / 1600), rtol=1e-6)
    late = ema_decay(config, 32, jnp.int32(10_000_000))
    assert_allclose(late, 0.99778439, rtol=1e-7)


def test_ramp_up_forgets_the_start():
    """After 200 updates nothing of the start is left, while without ramp-up two thirds of it are."""

    def left(rampup: float | None) -> float:
        share = 1.0
        for step in range(1, 201):
            share *= float(ema_decay(EMAConfig(10.0, rampup), 32, jnp.int32(32 * step)))
        return share

    assert left(0.05) < 1e-20
    assert_allclose(left(None), 0.5 ** (6400 / 10_000), rtol=1e-4)


def test_an_unchanging_leaf_stays_to_the_bit():
    leaf = {"w": jnp.asarray(np.random.default_rng(0).standard_normal(1000), jnp.float32)}
    average = leaf
    for _ in range(10):
        average = lerp(average, leaf, jnp.float32(0.99778439))
    assert np.asarray(average["w"]).tobytes() == np.asarray(leaf["w"]).tobytes()


def test_lerp_moves_towards_the_value():
    assert_allclose(lerp({"w": jnp.array([0.0])}, {"w": jnp.array([2.0])}, jnp.float32(0.75))["w"], [0.5])
