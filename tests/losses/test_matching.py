"""Distances of features and the divergence of latents, by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.losses.matching import VGG_WEIGHTS, feature_matching, latent_divergence, mean_over_scales, perceptual


def test_every_scale_counts_alike():
    maps = [jnp.asarray([[[1.0, 3.0]], [[5.0, 7.0]]]), jnp.asarray([[10.0], [20.0]])]
    np.testing.assert_allclose(mean_over_scales(maps), [(2 + 10) / 2, (6 + 20) / 2])


def test_feature_matching_by_hand():
    """Two scales of two layers and logits, which do not count: (|1-0| + 2 + 0.5) / 2 for the first example."""
    map_of = lambda *rows: jnp.asarray(rows, jnp.float32)
    fake = [
        [map_of([1, 1], [0, 0]), map_of([3, 1], [0, 0]), map_of([100], [0])],
        [map_of([0.5], [0]), map_of([0], [0]), map_of([100], [0])],
    ]
    real = jax.tree.map(jnp.zeros_like, fake)
    np.testing.assert_allclose(feature_matching(fake, real), [(1 + 2 + 0.5) / 2, 0])
    gradients = jax.grad(lambda a, b: feature_matching(a, b).sum(), (0, 1))(fake, real)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradients[1])), "real features are constants"
    np.testing.assert_allclose(gradients[0][0][1][0], [0.25, 0.25])


def test_perceptual_distance_by_hand():
    assert VGG_WEIGHTS == (0.03125, 0.0625, 0.125, 0.25, 1)
    fake = [jnp.full((1, 2, 2, 1), float(i)) for i in range(5)]
    real = [jnp.ones_like(x) for x in fake]
    np.testing.assert_allclose(perceptual(fake, real), [1 / 32 + 0 + 1 / 8 + 2 / 4 + 3])


def test_divergence_of_normal_distributions():
    mean, log_variance = jnp.asarray([[0.0, 0.0], [1.0, 2.0]]), jnp.asarray([[0.0, 0.0], [0.0, jnp.log(4.0)]])
    np.testing.assert_allclose(latent_divergence(mean, log_variance), [0, 0.5 * (1 + 4 + 4 - 1 - np.log(4))], rtol=1e-6)
