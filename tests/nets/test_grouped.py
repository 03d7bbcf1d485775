"""D is asked about whole groups of different images, whatever the group and however few the images."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.config import ResNetConfig, StyleGAN2Config
from gan_jax.nets import build
from gan_jax.nets.inside import logits_in_groups, up_to_groups, whole_groups
from tests.nets.families import drawn

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # to compile, not to run
SMALL = StyleGAN2Config(
    resolution=8, channels=1, z_dim=4, w_dim=4, mapping_layers=1, channel_base=32, channel_max=4, mbstd_group=3
)


def grouped(group: int):
    return build(dataclasses.replace(SMALL, mbstd_group=group))


def judged(n: int, group: int, **options) -> list[int]:
    """The sizes of the calls; every group of each is looked at."""
    sizes = []

    def ask(d_vars, images, labels):
        sizes.append(len(images))
        together = min(group, len(images))  # as minibatch_stddev has it: i and i + n are together
        assert len(images) % together == 0
        for members in np.reshape(images, (together, -1)).T:
            assert len(set(members)) == together, f"{members} holds an image twice"
        assert labels.dtype == np.int32 and np.array_equal(labels, images % 10)
        return images * d_vars

    images = np.arange(n)
    found = logits_in_groups(ask, 2, images, images % 10, group=group, **options)
    np.testing.assert_array_equal(found, 2 * images)
    return sizes


@pytest.mark.parametrize("group", [1, 2, 3, 4, 5, 7, 8, 32, 48])
def test_no_group_holds_an_image_twice(group):
    for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 31, 32, 33, 64, 100):
        sizes = judged(n, group)
        assert len(set(sizes)) == 1, "one program serves all"


def test_sets_large_enough_are_judged_as_they_always_were():
    assert judged(100, 4) == judged(100, 1) == [32] * 4 and judged(5, 1) == [32]
    assert judged(6, 4) == [4, 4] and judged(2, 4) == [2] and judged(100, 7) == [28] * 4


def test_a_larger_set_is_judged_in_groups_of_a_smaller_one():
    assert judged(7, 4, at_most=2) == [2] * 4
    assert judged(64, 4, at_most=4) == [32, 32]


def test_numbers_of_examples_that_fall_into_groups():
    four, three, seven = grouped(4), grouped(3), grouped(7)
    assert (whole_groups(four, 256), whole_groups(three, 256), whole_groups(seven, 5)) == (256, 255, 5)
    assert (up_to_groups(8, four), up_to_groups(8, three), up_to_groups(8, three, four)) == (8, 9, 12)
    assert up_to_groups(8, grouped(32), grouped(0)) == 8, "8 are one part of a group of 32"
    assert build(ResNetConfig(resolution=16)).d_group == grouped(0).d_group == 1


@pytest.mark.parametrize(("group", "n"), [(3, 2), (5, 8)])
def test_logits_of_a_discriminator_are_those_of_whole_groups(group, n):
    pair = grouped(group)
    d, ask = (
        drawn(pair.d, equalised=True),
        jax.jit(lambda d, x, labels: pair.d.apply(d, x, labels)[0], compiler_options=QUICK),
    )
    images = np.random.default_rng(0).normal(size=(n, 8, 8, 1)).astype(np.float32)
    found = logits_in_groups(ask, d, images, group=group)
    whole = ask(d, jnp.asarray(images[: min(group, n)]), None)
    np.testing.assert_allclose(found[: len(whole)], whole, rtol=1e-5, atol=1e-6)
    alone = np.concatenate([np.asarray(ask(d, jnp.asarray(images[i : i + 1]), None)) for i in range(n)])
    assert np.abs(found - alone).min() > 1e-4, "a spread of 0 is another input"
