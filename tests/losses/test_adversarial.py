"""Every loss at points worked out by hand, its signs, and which side sees which logits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from gan_jax.losses import LOSSES
from gan_jax.losses.adversarial import G_SEES_REAL

REAL, FAKE = np.array([2.0, -1.0, 0.5], np.float32), np.array([-3.0, 0.25, 2.0], np.float32)
sp = lambda t: np.log1p(np.exp(np.asarray(t, np.float64)))
EXPECTED = {
    "non_saturating": (sp([-2, 1, -0.5]) + sp([-3, 0.25, 2]), sp([3, -0.25, -2])),
    "hinge": ([0.0, 3.25, 3.5], [3.0, -0.25, -2.0]),
    "wasserstein": ([-5.0, 1.25, 1.5], [3.0, -0.25, -2.0]),
    "least_squares": ([5.0, 2.03125, 2.125], [8.0, 0.28125, 0.5]),
    "relativistic": (sp([-5, 1.25, 1.5]), sp([5, -1.25, -1.5])),
}


def test_every_loss_is_tested():
    assert LOSSES.keys() == EXPECTED.keys() and LOSSES.keys() >= G_SEES_REAL


@pytest.mark.parametrize("name", LOSSES)
def test_values(name):
    for value, expected in zip(LOSSES[name](jnp.asarray(REAL), jnp.asarray(FAKE)), EXPECTED[name]):
        assert value.shape == (3,) and value.dtype == jnp.float32
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_finite_differences(name):
    check_grads(jax.jit(LOSSES[name]), (REAL, FAKE), order=1, modes=("rev",), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("name", LOSSES)
def test_signs_at_undecided_logits(name):
    """At equal logits near 0, D wants real up and fake down, G wants fake up; G looks at real logits only if it says so."""
    slope = lambda side, arg: float(jax.grad(lambda *xs: LOSSES[name](*xs)[side].sum(), arg)(*jnp.zeros((2, 1)))[0])
    assert slope(0, 0) < 0 <= slope(0, 1)
    assert slope(1, 1) < 0
    assert (slope(1, 0) != 0) == (name in G_SEES_REAL)
    high, low = jnp.full((1,), 0.9), jnp.full((1,), -0.9)
    assert LOSSES[name](high, low)[0] < LOSSES[name](low, high)[0], "D pays less for the right answer"
    assert LOSSES[name](low, high)[1] < LOSSES[name](low, low)[1], "G pays less where D believes it"


@pytest.mark.parametrize("name", ["non_saturating", "relativistic"])
def test_extreme_logits_stay_finite(name):
    d, g = LOSSES[name](jnp.array([-1e4]), jnp.array([1e4]))
    assert d[0] > 1e4 - 1 and np.isfinite(d).all() and np.isfinite(g).all()
    d, g = LOSSES[name](jnp.array([1e4]), jnp.array([-1e4]))
    np.testing.assert_allclose(d, 0, atol=1e-7)
    assert g[0] > 1e4 - 1
