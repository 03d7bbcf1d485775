"""ADA in the step: its strength follows D, is part of the state, and is the same on any number of devices."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax.config import AugmentConfig, ConfigError, LossConfig
from gan_jax.train.feed import adapt_augment, init_augment
from tests.lanes import default_rows
from tests.train.games import assert_parity, dispatches, make_config, make_state, make_trainer
from tests.train.toy import build_toy


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    monkeypatch.setattr("gan_jax.nets.resnet.make", build_toy)


def with_ada(config, **fields):
    return dataclasses.replace(config, augment=AugmentConfig(**{"ada": "color", "ada_kimg": 0.064, **fields}))


def test_p_changes_after_every_fourth_minibatch():
    config = AugmentConfig(ada="bgc", ada_kimg=0.064)
    extras, seen = init_augment(config), []
    for done, sign in enumerate([1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.5, 0.5, 1.0, 1.0, 0.5, 0.5], 1):
        extras = adapt_augment(config, extras, jnp.float32(sign), jnp.int32(done), 8)
        seen.append(float(extras["ada_p"]))
    assert_allclose(seen, [0, 0, 0, 0.5, 0.5, 0.5, 0.5, 0, 0, 0, 0, 0.5])  # means of 1, 0.5 and 0.75


SIGNS = [(30.0, (0, 0.5, 1, 1)), (-30.0, (0, 0, 0, 0))]


@pytest.mark.parametrize("bias, expected", default_rows(SIGNS, SIGNS[:1]))
def test_p_rises_when_d_is_sure_and_stays_at_0_else(bias, expected):
    """D calls all images real, or none: 3 dispatches of 4 steps."""
    trainer = make_trainer(with_ada(make_config(LossConfig("wasserstein"), steps_per_dispatch=4)))
    state = make_state(trainer)
    head = state.nets["d"]["params"]["head"]
    params = {**state.nets["d"]["params"], "head": {**head, "bias": jnp.full_like(head["bias"], bias)}}
    rows = dispatches(trainer, state.with_nets(d={**state.nets["d"], "params": params}))
    for before, after in zip(expected[:-1], expected[1:]):
        leaves, metrics = next(rows)
        assert_allclose(metrics["ada_p"], before)  # what this dispatch was shown with
        assert_allclose(leaves["extras/ada_p"], after)
        assert leaves["extras/ada_p"].dtype == np.float32


@pytest.mark.slow
def test_every_compiler_computes_the_same():
    config = with_ada(make_config(LossConfig("hinge", r1_gamma=1.0)), ada_p=0.7)
    assert_parity(config, [("jit", 8), ("pmap", 2)])


@pytest.mark.slow
def test_every_number_of_devices_computes_the_same():
    config = with_ada(make_config(), ada_p=0.7)
    assert_parity(config, [("jit", 8)])


def test_p_stays_where_there_is_no_target():
    config = AugmentConfig(ada="bgc", ada_p=0.3, ada_target=None)
    extras = init_augment(config)
    assert adapt_augment(config, extras, jnp.ones(()), jnp.int32(4), 8) is extras
    assert init_augment(AugmentConfig(policy=("color",))) == {}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"policy": ("color",)}, "two augmentations of the same images"),
        ({"ada_p": 1.5}, "augment.ada_p is 1.5; use a probability"),
        ({"ada_target": 2.0}, "augment.ada_target is 2; a mean sign lies in"),
        ({"ada_kimg": 0.0}, "augment.ada_kimg is 0; it must be positive; for a p that stays"),
    ],
)
def test_what_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        with_ada(make_config(), **fields).validate()
