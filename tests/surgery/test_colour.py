"""Colour heads of any number of channels: what is exact, said in `gan_jax.surgery.families.classes`, is exact."""

from __future__ import annotations

import numpy as np
import pytest

from gan_jax.surgery import OPS, OpError
from gan_jax.surgery.families.classes import colour_matrix
from gan_jax.surgery.families.fit import fit

draw = lambda *shape: np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)
matrix = lambda *args: np.array(colour_matrix(*args), np.float32)


def reader(old, new, beside="zero"):
    """A 1x1 reader `[old, 4]` and the same for images of `new` channels."""
    kernel = draw(1, 1, old, 4)
    args = {"axis": 2, "matrix": colour_matrix(old, new, "in", beside)}
    return kernel[0, 0], OPS["colour_in"].apply([kernel], None, args)[0, 0]


@pytest.mark.parametrize("k", [2, 3, 5, 8])
def test_grey_and_many(k):
    grey, images = draw(6, 1), draw(6, k)
    np.testing.assert_allclose(grey @ matrix(1, k, "out").T, np.repeat(grey, k, 1), err_msg="writer: grey repeated")
    old, new = reader(1, k)
    np.testing.assert_allclose(np.repeat(grey, k, 1) @ new, grey @ old, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(images @ matrix(k, 1, "out").T, images.mean(1, keepdims=True), rtol=1e-5, atol=1e-6)
    old, new = reader(k, 1)
    np.testing.assert_allclose(grey @ new, np.repeat(grey, k, 1) @ old, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("old", "new"), [(3, 5), (3, 4), (4, 6), (2, 3)])
def test_more_channels_keep_the_old_ones_and_read_nothing_new(old, new):
    images, others = draw(6, old), draw(6, new - old)
    written = images @ matrix(old, new, "out").T
    np.testing.assert_array_equal(written, np.concatenate([images, 0 * others], 1))
    before, after = reader(old, new)
    np.testing.assert_allclose(np.concatenate([images, others], 1) @ after, images @ before, rtol=1e-5, atol=1e-6)
    fewer = images @ matrix(new, old, "out").T[:old]
    np.testing.assert_array_equal(fewer, images, "the way back keeps what there was")


def test_new_bands_may_start_as_the_mean():
    images = draw(6, 3)
    written = images @ matrix(3, 5, "out", "mean").T
    np.testing.assert_array_equal(written[:, :3], images)
    np.testing.assert_allclose(written[:, 3:], np.repeat(images.mean(1, keepdims=True), 2, 1), rtol=1e-5, atol=1e-6)
    before, after = reader(3, 5, "mean")
    np.testing.assert_array_equal(after[:3], before)
    assert np.abs(written @ after - images @ before).max() > 0.1, "of which the reader's function does not stay"
    _, steps = fit([(1, 1, 6, 3)], (1, 1, 6, 5), {"colour": ("out", 3), "beside": "mean"})
    assert steps == [("colour_out", {"axis": 3, "matrix": colour_matrix(3, 5, "out", "mean")})]


def test_alpha_is_no_colour():
    assert colour_matrix(1, 4, "in") == [[1 / 3]] * 3 + [[0]] and colour_matrix(4, 1, "in") == [[1, 1, 1, 0]]
    assert colour_matrix(3, 4, "out", "mean")[3] == [0, 0, 0]
    np.testing.assert_allclose(colour_matrix(4, 1, "out"), [[1 / 3] * 3 + [0]])


def test_what_is_no_image_is_refused():
    with pytest.raises(OpError, match="0 -> 3 image channels; an image has one channel or more"):
        colour_matrix(0, 3, "in")
    with pytest.raises(OpError, match="side is 'into'.*use 'in' or 'out'"):
        colour_matrix(1, 3, "into")
