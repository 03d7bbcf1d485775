"""Averages by hand, what fits and what does not, dtypes, collections."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.fusion.merges.averages import average, merge_collections
from gan_jax.fusion.merges.leaves import MergeError
from tests.fusion.merges.cases import close, draw, leaf, nested


def test_by_hand():
    donors = [leaf(1.0, 2.0), leaf(3.0, -2.0), leaf(5.0, 9.0)]
    close(average(donors), leaf(3.0, 3.0))
    close(average(donors, [1, 1, 2]), leaf(14 / 4, 18 / 4))
    close(average(donors, [1, 1, 2], normalize=False), leaf(14.0, 18.0))
    close(average(donors[:2], [2, -1]), leaf(-1.0, 6.0))


def test_one_donor_and_the_same_donors_are_the_donor():
    donor = draw(0)
    jax.tree.map(assert_array_equal, average([donor]), donor)
    close(average([donor] * 3, [0.2, 0.5, 1.0]), donor)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0.01, 10), min_size=2, max_size=4), st.randoms())
def test_relabelling_changes_nothing(weights, random):
    donors = [draw(seed) for seed in range(len(weights))]
    order = list(range(len(weights)))
    random.shuffle(order)
    close(average([donors[i] for i in order], [weights[i] for i in order]), average(donors, weights))


def test_traced_weights_have_gradients():
    donors = [leaf(1.0, 2.0), leaf(3.0, -2.0)]
    merged = jax.jit(lambda w: average(donors, w))
    close(merged(jnp.array([1.0, 3.0])), leaf(2.5, -1.0))
    slope = jax.grad(lambda w: average(donors, w, normalize=False)["x"].sum())(jnp.array([0.3, 0.4]))
    assert_allclose(slope, [3.0, 1.0])


def test_dtypes_and_leaves_that_are_no_floats():
    """Half precision is summed in float32; whole numbers are the first donor's."""
    donors = [{"h": jnp.array([x], jnp.bfloat16), "n": np.array([i])} for i, x in enumerate((256.0, 1.0, 1.0))]
    merged = average(donors, normalize=False, weights=[1, 1, 1])
    assert merged["h"].dtype == jnp.bfloat16 and float(merged["h"][0]) == 258.0  # 256 in steps of bfloat16
    assert_array_equal(merged["n"], [0])
    with jax.enable_x64(False):  # arrays of NumPy in float64 stay quiet
        assert average([leaf(1.0), leaf(2.0)])["x"].dtype == jnp.float32


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"b8/conv0/bias": np.zeros(5)}, r"'b8/conv0/bias' is float64\[5\] in donor 1, float64\[4\] in donor 0"),
        ({"head/kernel": np.zeros((5, 3), int)}, r"'head/kernel' is int64\[5,3\] in donor 1"),
        ({"head/kernal": np.zeros(1)}, "donor 1 has a leaf 'head/kernal', donor 0 has none.*'head/kernel'"),
        ({"gain": None}, "donor 1 lacks the leaf 'gain' of donor 0.*transplant"),
    ],
)
def test_errors_name_the_leaf(change, says):
    from gan_jax.trees import flatten

    other = {path: x for path, x in (flatten(draw(1)) | change).items() if x is not None}
    with pytest.raises(MergeError, match=says):
        average([draw(0), nested(other)])


@pytest.mark.parametrize(
    ("donors", "weights", "says"),
    [
        ([], None, "no donors"),
        ([leaf(1.0)] * 2, [1.0], "1 weights for 2 donors"),
        ([leaf(1.0)] * 2, [1.0, -1.0], "sum to 0, and mixing weights sum to 1"),
        ([leaf(1.0)] * 2, jnp.ones(3), r"shape \[3\], for 2 donors it must be \[2\]"),
    ],
)
def test_errors_of_weights(donors, weights, says):
    with pytest.raises(MergeError, match=says):
        average(donors, weights)


def test_collections():
    """Statistics are averaged, vectors of spectral norms and noise are the base's."""
    names = ("params", "batch_stats", "moving", "spectral", "constants")
    one, other, base = ({name: leaf(value) for name in names} for value in (1.0, 4.0, 10.0))
    assert merge_collections([one, other], base, [1, 2]) == {
        "batch_stats": leaf(3.0), "moving": leaf(3.0), "spectral": leaf(10.0), "constants": leaf(10.0)
    }  # fmt: skip
    assert merge_collections([one, other])["spectral"] == leaf(1.0)
    with pytest.raises(MergeError, match="donor 1 has no collection 'moving'"):
        merge_collections([one, {name: tree for name, tree in other.items() if name != "moving"}])
