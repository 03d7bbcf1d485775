"""SLERP and the Karcher mean: in the plane by angles, lengths kept, linear where angles say nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.fusion.merges.averages import average, karcher, slerp
from gan_jax.fusion.merges.leaves import MergeError
from tests.fusion.merges.cases import close, draw, leaf


def at(degrees, length=1.0):
    return leaf(length * np.cos(np.radians(degrees)), length * np.sin(np.radians(degrees)))


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 360), st.floats(3, 177), st.floats(0, 1))
def test_slerp_turns_at_one_speed(start, angle, t):
    close(slerp([at(start), at(start + angle)], t), at(start + t * angle), atol=1e-11)


def test_slerp_by_hand():
    """Lengths 2 and 4 at a right angle: sin(45 degrees) of each. Ends are exact."""
    donors = [leaf(2.0, 0.0), leaf(0.0, 4.0)]
    close(slerp(donors), leaf(np.sqrt(2), np.sqrt(8)))
    close(slerp(donors, 0.0), donors[0])
    close(slerp(donors, 1.0), donors[1])
    close(slerp(donors[::-1], 0.75), slerp(donors, 0.25))


@pytest.mark.parametrize(
    "pair",
    [
        (at(10), at(11, 3.0)),
        (at(10), at(189.5)),
        (leaf(0.0, 0.0), at(20)),
        (leaf(0.0), leaf(0.0)),
        (leaf(2.0), leaf(-3.0)),
    ],
    ids=["parallel", "opposite", "zero", "zeros", "scalars"],
)
def test_slerp_is_linear_where_angles_say_nothing(pair):
    close(slerp(pair, 0.3), average(pair, [0.7, 0.3]))
    slope = jax.grad(lambda y: slerp([pair[0], {"x": y}], 0.3)["x"].sum())(jnp.asarray(pair[1]["x"]))
    assert np.isfinite(slope).all()


def test_the_angle_is_each_tensors_own():
    one, other = draw(0), draw(1)
    whole = slerp([one, other], 0.4)
    for path in ("b8", "head"):
        close(slerp([one[path], other[path]], 0.4), whole[path])
    assert not np.allclose(whole["head"]["kernel"], average([one, other], [0.6, 0.4])["head"]["kernel"])


def test_the_same_donors_are_the_donor():
    donor = draw(0)
    close(slerp([donor, donor], 0.3), donor)
    close(karcher([donor] * 3, [0.2, 0.5, 1.0]), donor)
    close(karcher([donor]), donor)
    close(jax.jit(lambda t: slerp([donor, draw(1)], t))(0.3), slerp([donor, draw(1)], 0.3))


def test_karcher_of_two_is_slerp():
    one, other = draw(0), draw(1)
    unit = lambda tree: jax.tree.map(lambda x: x / np.linalg.norm(x), tree)
    close(karcher([unit(one), unit(other)], [0.7, 0.3]), slerp([unit(one), unit(other)], 0.3), rtol=1e-7, atol=1e-9)
    assert_allclose(
        np.linalg.norm(karcher([one, other], [0.7, 0.3])["head"]["kernel"]),
        0.7 * np.linalg.norm(one["head"]["kernel"]) + 0.3 * np.linalg.norm(other["head"]["kernel"]),
    )


def test_karcher_by_angles():
    """In the plane the mean direction is the mean angle, where angles are less than half a turn."""
    got = karcher([at(10, 1), at(30, 2), at(80, 6)])
    close(got, at(40, 3), rtol=1e-9)
    close(karcher([at(80, 6), at(10, 1), at(30, 2)]), got, rtol=1e-9)
    close(karcher([at(10, 1), at(30, 2), at(80, 6)], [1, 0, 3]), at(62.5, 4.75), rtol=1e-9)


def test_karcher_is_where_arcs_balance():
    """On a sphere of many dimensions: the weighted arcs from it to the donors sum to nothing."""
    donors, w = [draw(seed)["head"]["kernel"].ravel() for seed in range(3)], np.array([0.5, 0.3, 0.2])
    mean = np.asarray(karcher([{"x": x} for x in donors], w, iterations=60)["x"])
    mean = mean / np.linalg.norm(mean)
    arcs = 0
    for v, x in zip(w, donors):
        x = x / np.linalg.norm(x)
        across = x - (x @ mean) * mean
        arcs = arcs + v * np.arccos(x @ mean) * across / np.linalg.norm(across)
    assert_allclose(arcs, 0, atol=1e-9)


def test_karcher_of_zeros_and_of_what_cancels():
    close(karcher([leaf(0.0, 0.0), at(20, 2)]), at(20, 1))
    assert_array_equal(karcher([leaf(0.0)] * 2)["x"], [0.0])
    close(karcher([leaf(2.0, 0.0), leaf(-4.0, 0.0)]), leaf(-1.0, 0.0))


def test_slerp_of_three_says_what_to_use():
    with pytest.raises(MergeError, match="two donors, but there are 3; use karcher"):
        slerp([leaf(1.0)] * 3)
