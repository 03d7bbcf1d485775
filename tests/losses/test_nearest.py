"""The distance of two sets of points against loops in float64, and its gradient against what the pairs say."""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_allclose

from gan_jax.losses import two_way_nearest


def by_hand(a, b):
    """The value, and its gradients by both sets."""
    distance = lambda x, y: np.square(x - y).sum() / a.shape[1]
    to_a, to_b, value = np.zeros_like(a), np.zeros_like(b), 0.0
    pairs = [(i, min(range(len(b)), key=lambda j: distance(a[i], b[j])), len(a)) for i in range(len(a))]
    pairs += [(min(range(len(a)), key=lambda i: distance(a[i], b[j])), j, len(b)) for j in range(len(b))]
    for i, j, count in pairs:
        value += distance(a[i], b[j]) / count
        slope = 2 * (a[i] - b[j]) / a.shape[1] / count
        to_a[i] += slope
        to_b[j] -= slope
    return value, to_a, to_b


def test_value_and_gradients_by_hand():
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=(4, 3)), draw.normal(size=(9, 3)) + 0.5
    with jax.enable_x64():
        value, grads = jax.value_and_grad(two_way_nearest, argnums=(0, 1))(jnp.asarray(a), jnp.asarray(b))
    want, to_a, to_b = by_hand(a, b)
    assert_allclose(value, want, rtol=1e-12)
    assert_allclose(grads[0], to_a, rtol=1e-12)
    assert_allclose(grads[1], to_b, rtol=1e-12, atol=1e-15)


def test_equal_sets_are_at_no_distance_and_far_from_zero_digits_are_kept():
    a = 100 + np.random.default_rng(1).normal(size=(5, 2)).astype(np.float32)
    assert two_way_nearest(jnp.asarray(a), jnp.asarray(a)[::-1]) == 0
    near = a + np.float32(1e-3)
    assert_allclose(two_way_nearest(jnp.asarray(a), jnp.asarray(near)), 2e-6, rtol=0.1)


def test_far_from_the_origin_the_nearest_is_still_found():
    draw = np.random.default_rng(1)
    a, b = ((draw.normal(size=(n, 3)) + 1e4).astype(np.float32) for n in (6, 9))
    assert_allclose(
        two_way_nearest(jnp.asarray(a), jnp.asarray(b)), by_hand(*(x.astype(float) for x in (a, b)))[0], rtol=1e-4
    )
