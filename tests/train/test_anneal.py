"""Values that move along half a cosine: what they are, and that a step takes each of them as it is by then."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax.augment import ada
from gan_jax.augment.ada.draws import random_draws
from gan_jax.config import AnnealConfig, AugmentConfig, ConfigError, EMAConfig, LossConfig, OptimConfig
from gan_jax.train.optim import annealed
from tests.train.games import dispatch, make_config, make_state, make_trainer
from tests.train.toy import build_toy

ENDS = AnnealConfig(kimg=1.0, lr=1e-3, b2=0.99, gamma=0.5, half_life_kimg=0.2, ada_p=0.6)


def test_half_a_cosine():
    at = [
        annealed(AnnealConfig(kimg=1.0, lr=1.0), "lr", 3.0, jnp.int32(images)) for images in (0, 250, 500, 1000, 9999)
    ]
    assert_allclose(at, [3, 2 + np.sqrt(0.5), 2, 1, 1], rtol=1e-6)
    assert annealed(AnnealConfig(kimg=1.0), "lr", 3.0, jnp.int32(500)) == 3.0
    assert annealed(AnnealConfig(lr=1.0), "lr", 3.0, jnp.int32(500)) == 3.0


def test_a_step_half_way_is_that_of_the_values_half_way(monkeypatch):
    monkeypatch.setattr("gan_jax.nets.resnet.make", build_toy)

    def of(lr, b2, gamma, half_life, p, anneal):
        made = make_config(LossConfig("non_saturating", r1_gamma=gamma))
        return dataclasses.replace(
            made,
            augment=AugmentConfig(ada="cutout", ada_p=p, ada_target=None),
            optim=OptimConfig(lr=lr, b1=0.0, b2=b2),
            ema=EMAConfig(half_life_kimg=half_life, rampup=None),
            anneal=anneal,
        )

    moving, still = of(2e-3, 0.9, 1.5, 0.0, 0.0, ENDS), of(1.5e-3, 0.945, 1.0, 0.1, 0.3, AnnealConfig())
    half_way = dataclasses.replace(ENDS, kimg=0.992)
    still, moving = make_trainer(still), make_trainer(dataclasses.replace(moving, anneal=half_way))
    state = make_state(still).replace(images=jnp.int32(496))
    (got, metrics), (want, _) = dispatch(moving, state), dispatch(still, state)
    # G's update comes 8 images later, when its own values have moved on a little.
    for path, value in want.items():
        if path[:2] == "d/" or path[:5] == "opt_d":
            assert_allclose(got[path], value, rtol=1e-5, atol=1e-7, err_msg=path)
    assert_allclose(metrics["ada_p"], 0.3, rtol=1e-5)
    moved = np.concatenate([(got[p] - value).ravel() for p, value in want.items() if p[:9] == "g/params/"])
    assert 0 < np.abs(moved).max() < 1e-4
    average = [p for p in want if p.startswith("g_ema/params/")]
    assert all(np.abs(got[p] - want[p]).max() < 1e-4 for p in average)


@pytest.mark.slow
def test_colours_of_r3gan_come_half_as_often():
    draws = jax.jit(lambda: random_draws(jax.random.split(jax.random.key(0), 4000), None))()
    only = draws._replace(
        gates={k: v if k == "brightness" else jnp.ones_like(v) for k, v in draws.gates.items()}, pixels=None
    )
    images = jnp.zeros((4000, 4, 4, 3))
    changed = {
        pipe: float(np.mean(np.asarray(ada(pipe, 0.5, jnp.zeros(4000), images, lambda *_: only)).any((1, 2, 3))))
        for pipe in ("color", "r3gan")
    }
    assert_allclose([changed["color"], changed["r3gan"]], [0.5, 0.25], atol=0.035)


@pytest.mark.parametrize(
    ("anneal", "ada", "message"),
    [
        (AnnealConfig(lr=1e-3), {}, "anneal.lr is set, but anneal.kimg is 0"),
        (AnnealConfig(kimg=1.0, b2=1.0), {}, "anneal.b2 is 1; it must lie in"),
        (AnnealConfig(kimg=1.0, ada_p=0.5), {"ada": "bgc"}, "both decide how strong ADA is"),
        (
            AnnealConfig(kimg=1.0, ada_p=1.5),
            {"ada": "bgc", "ada_target": None},
            "anneal.ada_p is 1.5; use a probability",
        ),
        (AnnealConfig(kimg=-1.0), {}, "anneal.kimg is -1; it must not be negative"),
    ],
)
def test_what_is_refused(anneal, ada, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(make_config(), anneal=anneal, augment=AugmentConfig(**ada)).validate()
