"""Image pools against a plain loop over the same draws."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_array_equal

from gan_jax.tasks.pool import empty_pool, query


def by_hand(size, stored, numbers, draws):
    """The published pool of single numbers, with draws `(p, place)`."""
    out = []
    for number, (p, place) in zip(numbers, draws):
        if len(stored) < size:
            stored.append(number)
            out.append(number)
        elif p > 0.5:
            out.append(stored[place])
            stored[place] = number
        else:
            out.append(number)
    return out


def test_images_pass_one_at_a_time():
    size, keys = 3, jax.random.split(jax.random.key(5), 24)
    halves = [jax.random.split(key) for key in keys]
    draws = [(float(jax.random.uniform(p)), int(jax.random.randint(i, (), 0, size))) for p, i in halves]
    numbers = np.arange(1.0, 25.0, dtype=np.float32)
    images = jnp.broadcast_to(numbers[:, None, None, None], (24, 2, 2, 1))
    pool, got = empty_pool(size, (2, 2, 1)), []
    for part in (slice(0, 5), slice(5, 6), slice(6, 24)):  # batches of any size
        pool, images_shown = query(pool, images[part], keys[part])
        got.append(images_shown)
    stored: list[float] = []
    want = by_hand(size, stored, numbers.tolist(), draws)
    assert_array_equal(jnp.concatenate(got)[:, 1, 0, 0], want)
    assert_array_equal(pool["images"][:, 0, 1, 0], stored)
    assert int(pool["count"]) == size
    assert want[:size] == [1, 2, 3] and 4 < sum(a != b for a, b in zip(want, numbers)) < 18


def test_a_pool_of_size_0_returns_its_input():
    images, keys = jnp.ones((4, 2, 2, 3)), jax.random.split(jax.random.key(0), 4)
    pool, got = query(empty_pool(0, (2, 2, 3)), images, keys)
    assert pool == {} and got is images
