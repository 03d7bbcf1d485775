"""Which axis of a foreign tensor becomes which of ours, value by value: a round trip is the same whatever the order."""

from __future__ import annotations

import numpy as np
import pytest

from gan_jax.interop.links import Link, MapsLink

SIDE = 2  # px of the maps of dense layers

# kind -> (shape there, shape here, (place here) -> place there)
KINDS = {
    "same": ((2, 3), (2, 3), lambda i, j: (i, j)),
    "conv": ((5, 4, 2, 3), (2, 3, 4, 5), lambda y, x, i, o: (o, i, y, x)),
    "transposed": ((4, 5, 2, 3), (2, 3, 4, 5), lambda y, x, i, o: (i, o, y, x)),
    "dense": ((5, 4), (4, 5), lambda i, o: (o, i)),
    "maps": ((4, 2, 3), (2, 3, 4), lambda y, x, c: (c, y, x)),
    "flat": ((5, 3 * 4), (4 * 3, 5), lambda row, o: (o, row % 3 * 4 + row // 3)),
    "covering": ((5, 3, 2, 2), (4 * 3, 5), lambda row, o: (o, row % 3, row // 3 // 2, row // 3 % 2)),
    "grown": ((5, 3, 2, 2), (5, 4 * 3), lambda i, row: (i, row % 3, row // 3 // 2, row // 3 % 2)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_axes(kind):
    theirs, ours, place = KINDS[kind]
    there = np.arange(np.prod(theirs)).reshape(theirs)
    link = Link("x", kind, side=SIDE)
    here = link.read(there)
    assert here.shape == ours
    for index in np.ndindex(ours):
        assert here[index] == there[place(*index)], index
    np.testing.assert_array_equal(link.write(here), there)


def test_a_dense_layer_that_makes_maps():
    """Row c of 4 places there is place p of 3 channels here."""
    there = np.arange(3 * 4 * 5).reshape(12, 5)
    link = MapsLink("x", "dense", side=SIDE)
    here = link.read(there)
    assert here.shape == (5, 12)
    for i, row in np.ndindex(5, 12):
        assert here[i, row] == there[row % 3 * 4 + row // 3, i]
    np.testing.assert_array_equal(link.write(here), there)
