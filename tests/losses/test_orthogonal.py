"""Orthogonal regularisation against numbers computed by hand, in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.losses import orthogonal_penalty


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def by_hand(w):
    """The value, and 4 W (W^T W without its diagonal)."""
    matrix = np.asarray(w, np.float64).reshape(-1, w.shape[-1])
    gram = matrix.T @ matrix
    gram -= np.diag(np.diag(gram))
    return (gram**2).sum(), (4 * matrix @ gram).reshape(w.shape)


def test_two_filters():
    """Filters (1, 2) and (3, 4): their product 11 stands twice in the matrix."""
    kernel = jnp.array([[1.0, 3.0], [2.0, 4.0]])
    value, gradient = jax.value_and_grad(lambda w: orthogonal_penalty({"conv": {"kernel": w}}))(kernel)
    np.testing.assert_allclose(value, 2 * 11**2)
    np.testing.assert_allclose(gradient, 44 * np.array([[3.0, 1.0], [4.0, 2.0]]))


@pytest.mark.parametrize("shape", [(3, 3, 2, 5), (4, 9), (1, 1, 3, 3), (2, 1, 1, 6)], ids=str)
def test_value_and_gradient(shape):
    """Both ways of computing it: fewer filters than values in one, and more."""
    kernel = jnp.asarray(np.random.default_rng(0).standard_normal(shape))
    value, gradient = jax.value_and_grad(lambda w: orthogonal_penalty({"kernel": w}))(kernel)
    expected = by_hand(kernel)
    np.testing.assert_allclose(value, expected[0], rtol=1e-12)
    np.testing.assert_allclose(gradient, expected[1], rtol=1e-10, atol=1e-10)


def test_only_kernels_count_and_their_penalties_add():
    rng = np.random.default_rng(1)
    a, b, table = (jnp.asarray(rng.standard_normal(s)) for s in ((4, 3), (3, 3, 2, 2), (5, 6)))
    tree = {
        "b8": {"conv0": {"kernel": a, "bias": a[0]}, "norm": {"scale": table, "bias": table}},
        "embed": {"embedding": table, "gain": table[0, 0]},
        "stem": {"kernel": b},
    }
    gradient = jax.grad(orthogonal_penalty)(tree)
    np.testing.assert_allclose(orthogonal_penalty(tree), by_hand(a)[0] + by_hand(b)[0], rtol=1e-12)
    np.testing.assert_allclose(gradient["b8"]["conv0"]["kernel"], by_hand(a)[1], rtol=1e-10)
    for leaf in (gradient["embed"], gradient["b8"]["norm"], gradient["b8"]["conv0"]["bias"]):
        assert not any(np.any(array) for array in jax.tree_util.tree_leaves(leaf))
    only = orthogonal_penalty(tree, patterns=("b8/**/kernel",))
    np.testing.assert_allclose(only, by_hand(a)[0], rtol=1e-12)


def test_orthogonal_filters_of_any_length_cost_nothing():
    turned, _ = np.linalg.qr(np.random.default_rng(2).standard_normal((18, 4)))
    kernel = jnp.asarray((turned * [0.1, 1.0, 3.0, 20.0]).reshape(3, 3, 2, 4))
    np.testing.assert_allclose(orthogonal_penalty({"kernel": kernel}), 0.0, atol=1e-20)


def test_half_precision_is_summed_in_float32():
    kernel = jnp.ones((1, 1, 512, 8), jnp.bfloat16)
    value = orthogonal_penalty({"kernel": kernel})
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, 8 * 7 * 512.0**2)


def test_what_is_no_kernel_is_named():
    with pytest.raises(ValueError, match="no leaf is covered by .*kernel; the penalty needs kernels"):
        orthogonal_penalty({"scale": jnp.ones(3)})
    with pytest.raises(ValueError, match="leaf 'scale' has 1 axes"):
        orthogonal_penalty({"scale": jnp.ones(3)}, patterns=("scale",))
