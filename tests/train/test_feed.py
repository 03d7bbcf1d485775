"""Batches of a set that lives on the device."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from gan_jax.data.convert import to_float
from gan_jax.train.feed import resident_feed

IMAGES = np.arange(3 * 2 * 2 * 1, dtype=np.uint8).reshape(3, 2, 2, 1)  # no pixel is like another


@pytest.mark.parametrize("mirror", [False, True])
def test_images_come_with_their_labels_and_are_mirrored_left_to_right(mirror):
    feed = resident_feed(IMAGES, np.array([5, 6, 7]), mirror)
    batch = feed.draw(feed.resident, jax.random.split(jax.random.key(0), 96), 0)
    index, images = np.asarray(batch["index"]), np.asarray(batch["image"])
    np.testing.assert_array_equal(batch["label"], index + 5)
    plain = to_float(IMAGES[index])
    turned = (images != plain).any((1, 2, 3))
    np.testing.assert_array_equal(images, np.where(turned[:, None, None, None], plain[:, :, ::-1], plain))
    shares = [turned[index == i].mean() for i in range(3)]
    assert all(0.2 < share < 0.8 for share in shares) if mirror else not turned.any()
