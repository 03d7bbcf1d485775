"""Keys of a step: no two draws have one, and a batch has the same ones however it is cut."""

from __future__ import annotations

import itertools
import types

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.random_streams import Purpose
from gan_jax.train.context import example_index, example_keys


def keys(step, purpose, use, index):
    state = types.SimpleNamespace(key=jax.random.key(0), step=jnp.int32(step))
    return np.asarray(jax.random.key_data(example_keys(state, purpose, use, jnp.asarray(index))))


def test_step_purpose_use_and_example_each_make_another_key():
    purposes = (Purpose.DATA, Purpose.D_LATENTS, Purpose.NEAR)
    rows = [keys(step, purpose, use, range(3)) for step, purpose, use in itertools.product((0, 1), purposes, (0, 1))]
    assert len(np.unique(np.concatenate(rows), axis=0)) == 2 * 3 * 2 * 3


def test_an_example_has_its_key_wherever_it_is():
    whole = keys(4, Purpose.DATA, 0, example_index(8, None))
    np.testing.assert_array_equal(keys(4, Purpose.DATA, 0, [6, 7]), whole[6:])
    parts = jax.vmap(lambda _: example_index(2, "batch"), axis_name="batch")(jnp.zeros(4))
    np.testing.assert_array_equal(parts.reshape(-1), np.arange(8))


def test_numbers_of_purposes_are_their_own():
    assert len({int(purpose) for purpose in Purpose}) == len(Purpose.__members__)
