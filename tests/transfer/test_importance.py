"""Importance in the game: where D compares examples, each is beside others of its batch."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.transfer.fisher import adversarial_loss, examples


def context(group: int, n: int = 5) -> SimpleNamespace:
    """A context of numbers, whose D multiplies an example with the spread of its batch."""
    latents = jnp.arange(n, dtype=jnp.float32)
    task = SimpleNamespace(
        d_group=group,
        real=lambda batch: batch["image"],
        augment=lambda keys, sample, p: sample,
        generate=lambda g, batch, keys, train: (g * keys, {}),
        discriminate=lambda d, sample, batch, train: (d * sample * jnp.std(sample), {}),
    )
    return SimpleNamespace(
        task=task,
        loss=SimpleNamespace(name="wasserstein"),
        augment_p=None,
        batch={"image": jnp.square(latents)},
        latent_keys=latents,
        keys=lambda purpose: latents,
    )


def losses(group: int, network: str = "d"):
    ctx = context(group)
    value = adversarial_loss(ctx, network)
    return jax.lax.map(lambda one: value(2.0, 3.0, one), examples(ctx)), value, examples(ctx)


def test_an_example_is_judged_beside_the_next_ones_of_its_batch():
    found, *_ = losses(3)
    real, fake = np.arange(5.0) ** 2, 2 * np.arange(5.0)
    group = lambda x, i: x[(i + np.arange(3)) % 5]
    logit = lambda x: np.array([3 * x[i] * group(x, i).std() for i in range(5)])
    assert_allclose(found, logit(fake) - logit(real), rtol=1e-5)


def test_a_d_that_does_not_compare_sees_one_example():
    found, _, parts = losses(1)
    assert "beside" not in parts
    assert_array_equal(found, 0)  # the spread of one


def test_only_the_example_itself_has_a_gradient():
    _, value, parts = losses(3, "g")
    one = jax.tree.map(lambda x: x[1], parts)
    slope = jax.grad(lambda g: value(g, 3.0, one))(2.0)
    others = np.array([4.0, 6.0])
    f = lambda g: -3 * g * 1.0 * np.std([g * 1.0, *others])
    assert_allclose(slope, (f(2.001) - f(1.999)) / 0.002, rtol=1e-3)
