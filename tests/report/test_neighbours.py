from __future__ import annotations

import numpy as np
import pytest

from gan_jax.report.grids import gallery_grid, make_gallery, three_digits


def test_gallery_shows_the_most_suspicious_pairs_first(images):
    generated, training = images(5, seed=1), images(3, size=8, channels=3, seed=2)
    gallery = make_gallery(
        generated, training, [0, 2, 1, 1, 2], [5.0, 1.0, 3.0, 4.0, 2.0], n=3, reference_distances=np.arange(101) / 20
    )
    np.testing.assert_array_equal(gallery.distances, [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(gallery.generated, generated[[1, 4, 2]])
    np.testing.assert_array_equal(gallery.nearest, training[[2, 2, 1]])
    assert (gallery.median, gallery.reference_median, gallery.closer, gallery.total) == (3.0, 2.5, None, 5)
    assert "5 generated images" in gallery.summary() and "2.50" in gallery.summary()
    assert gallery_grid(gallery, cell_px=8, columns=3).shape == (8 + 12, 3 * (16 + 6) + 6, 3)


def test_the_summary_says_only_what_was_measured(images):
    x = images(10)
    gallery = make_gallery(x, x, np.arange(10), np.zeros(10), reference_distances=np.linspace(1, 2, 9), closer=1.0)
    assert (
        "not trained on: 1.50. A generated image is nearer than such a real one with probability 1.00"
        in gallery.summary()
    )
    assert "Real images" not in make_gallery(x, x, np.arange(10), np.ones(10)).summary()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"indices": [0, 3]}, "integers from 0 to 2"),
        ({"indices": [0.0, 1.0]}, "integers from 0 to 2"),
        ({"indices": [0]}, r"indices must hold a number for each of 2 images, not \[1\]"),
        ({"distances": [1.0]}, r"distances must hold"),
        ({"distances": [1.0, np.nan]}, "distance 1 is not finite"),
    ],
)
def test_what_does_not_fit_together_is_refused(images, change, message):
    fields = {"indices": [0, 1], "distances": [1.0, 2.0], **change}
    with pytest.raises(ValueError, match=message):
        make_gallery(images(2), images(3), **fields)


def test_three_digits():
    assert [three_digits(x) for x in (4.6, 412.0, 0.01234, 98.76)] == ["4.60", "412", "0.0123", "98.8"]
