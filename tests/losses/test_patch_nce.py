"""PatchNCE by hand: two images of two patches, scores in {0, 1}."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.losses import patch_nce

E0, E1, E2 = np.eye(3, dtype="f4")
QUERIES = jnp.asarray([[E0, E1], [E2, E0]])
KEYS = jnp.asarray([[E0, E0], [E2, E1]])


@pytest.mark.parametrize(
    ("all_negatives", "negatives"),
    [(False, [[1], [0], [0], [0]]), (True, [[1, 0, 0], [0, 0, 1], [0, 0, 0], [1, 1, 0]])],
)
def test_values(all_negatives, negatives):
    """The share of a patch's own key among it, the others, and itself at -10; the temperature divides all."""
    positive = [1.0, 0.0, 1.0, 0.0]
    expected = []
    for own, others in zip(positive, negatives):
        weights = np.exp(np.asarray([own, -10.0, *others]) / 0.5)
        expected.append(-np.log(weights[0] / weights.sum()))
    found = patch_nce(QUERIES, KEYS, 0.5, all_negatives)
    assert found.shape == (2, 2)
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-6)


def test_keys_learn_nothing():
    of_queries, of_keys = jax.grad(lambda q, k: patch_nce(q, k).sum(), (0, 1))(QUERIES, KEYS)
    assert np.abs(of_queries).max() > 0.1 and not np.asarray(of_keys).any()
