"""Task arithmetic, TIES and DARE: numbers by hand, what each must leave as it is, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.fusion.merges.leaves import MergeError
from gan_jax.fusion.merges.task_vectors import dare, draw_masks, task_arithmetic, ties
from gan_jax.trees import flatten
from tests.fusion.merges.cases import close, draw, leaf

BASE, DONORS = draw(9), [draw(seed) for seed in range(3)]
KEY = jax.random.key(0)
KINDS = {
    "arithmetic": task_arithmetic,
    "ties": ties,
    "dare": lambda *args, **options: dare(*args, key=KEY, density=0.5, **options),
    "dare_ties": lambda *args, **options: dare(*args, key=KEY, density=0.5, combine="ties", **options),
}


def test_arithmetic_by_hand():
    base, donors = leaf(1.0, 1.0), [leaf(2.0, 0.0), leaf(4.0, 1.0)]
    close(task_arithmetic(base, donors), leaf(5.0, 0.0))
    close(task_arithmetic(base, donors, [0.5, -1.0], lam=2), leaf(-4.0, 0.0))
    close(task_arithmetic(base, donors, [1, 3], normalize=True), leaf(3.5, 0.75))
    close(task_arithmetic(base, donors[:1]), donors[0])


def test_ties_by_hand():
    """Of tau (5, -1, 2, 0.5) and (-1, -4, 3, -2) the larger halves are (5, ., 2, .) and (., -4, 3, .)."""
    base = leaf(10.0, 10.0, 10.0, 10.0)
    donors = [leaf(15.0, 9.0, 12.0, 10.5), leaf(9.0, 6.0, 13.0, 8.0)]
    close(ties(base, donors, density=0.5), leaf(15.0, 6.0, 12.5, 10.0))
    close(ties(base, donors, density=0.5, normalize=False, lam=0.5), leaf(12.5, 8.0, 12.5, 10.0))
    close(ties(base, donors, [1, 3], density=0.5), leaf(15.0, 6.0, 12.75, 10.0))
    # nothing trimmed: signs +, -, +, - are elected, and who disagrees is left out
    close(ties(base, donors, density=1.0), leaf(15.0, 7.5, 12.5, 8.0))
    close(ties(base, donors, [1, 8], density=1.0), leaf(9.0, 10 - 33 / 9, 10 + 26 / 9, 8.0))


def test_ties_of_a_tie():
    """Where the sum is zero, most signs of the whole tree decide; where those balance too, the base stays."""
    base = {"a": np.zeros(1), "b": np.zeros(2)}
    donors = [{"a": np.array([3.0]), "b": np.array([-1.0, -1.0])}, {"a": np.array([-3.0]), "b": np.array([-2.0, -4.0])}]
    close(ties(base, donors, density=1.0), {"a": np.array([-3.0]), "b": np.array([-1.5, -2.5])})
    even = [{"a": np.array([3.0]), "b": np.array([-1.0, 1.0])}, {"a": np.array([-3.0]), "b": np.array([-1.0, 1.0])}]
    close(ties(base, even, density=1.0), {"a": np.array([0.0]), "b": np.array([-1.0, 1.0])})


def test_trimming_keeps_the_largest_of_each_leaf():
    for density in (0.2, 0.5, 1.0):
        for path, x in flatten(ties(BASE, DONORS[:1], density=density)).items():
            own, donor = np.asarray(flatten(BASE)[path]), np.asarray(flatten(DONORS[0])[path])
            kept = np.asarray(x) != own
            assert kept.sum() == max(1, int(density * own.size))
            assert_allclose(np.asarray(x)[kept], donor[kept], rtol=1e-12)
            size = np.abs(donor - own)
            assert not (~kept).any() or size[kept].min() > size[~kept].max()
    equal = leaf(1.0, -1.0, 1.0)  # no order decides between those that are as large
    close(ties(leaf(0.0, 0.0, 0.0), [equal], density=0.4), equal)


def test_dare_by_hand():
    base, donors = leaf(1.0, 1.0, 1.0), [leaf(2.0, 3.0, 5.0), leaf(0.0, -1.0, 9.0)]
    masks = [{"x": np.array([True, False, True])}, {"x": np.array([True, True, False])}]
    close(dare(base, donors, masks=masks, density=0.5), leaf(1 + 2.0 - 2.0, 1 - 4.0, 1 + 8.0))
    close(dare(base, donors, [1, 3], masks=masks, density=0.5, normalize=True), leaf(1 - 1.0, 1 - 3.0, 1 + 2.0))
    merged = dare(base, donors, [1, 3], masks=masks, density=0.5, combine="ties", normalize=True)
    close(merged, leaf(1 - 2.0, 1 - 4.0, 1 + 8.0))


def test_dare_keeps_the_mean():
    """Over many masks the mean is that of task arithmetic, and about `density` of the values are kept."""
    base, donor = {"x": np.zeros(20_000)}, {"x": np.ones(20_000)}
    merged = np.asarray(dare(base, [donor], key=KEY, density=0.1)["x"])
    assert set(np.round(merged, 12)) == {0.0, 10.0}
    assert_allclose(merged.mean(), 1.0, atol=5 * 3 / np.sqrt(20_000))  # a standard deviation of 3 for each value


def test_masks_depend_on_key_donor_and_path():
    one, other = draw_masks(KEY, [{"a": np.zeros(99), "b": np.zeros(99)}] * 2, 0.5)
    again = draw_masks(KEY, [{"b": np.zeros(99)}], 0.5)[0]
    assert_array_equal(one["b"], again["b"])
    assert (one["a"] != one["b"]).any() and (one["a"] != other["a"]).any()
    assert (draw_masks(jax.random.key(1), [{"b": np.zeros(99)}], 0.5)[0]["b"] != one["b"]).any()


def test_a_density_of_one_thins_nothing():
    close(dare(BASE, DONORS, key=KEY, density=1.0), task_arithmetic(BASE, DONORS))
    close(dare(BASE, DONORS, key=KEY, density=1.0, combine="ties"), ties(BASE, DONORS, density=1.0, normalize=False))


@pytest.mark.parametrize("kind", KINDS)
def test_lam_of_zero_is_the_base_and_lam_is_linear(kind):
    merge = KINDS[kind]
    jax.tree.map(assert_array_equal, merge(BASE, DONORS, lam=0.0), BASE)
    whole, half = merge(BASE, DONORS), merge(BASE, DONORS, lam=0.5)
    close(half, jax.tree.map(lambda a, b: (a + b) / 2, whole, jax.tree.map(jnp.asarray, BASE)))
    close(jax.jit(lambda lam: merge(BASE, DONORS, lam=lam))(0.5), half)


@pytest.mark.parametrize("kind", ["arithmetic", "ties"])
@settings(max_examples=10, deadline=None)
@given(st.permutations(range(3)))
def test_relabelling_changes_nothing(kind, order):
    weights = [0.5, 1.0, 2.0]
    merge = KINDS[kind]
    close(merge(BASE, [DONORS[i] for i in order], [weights[i] for i in order]), merge(BASE, DONORS, weights))


def test_relabelling_donors_with_their_masks_changes_nothing():
    masks = draw_masks(KEY, DONORS, 0.5)
    for combine in ("linear", "ties"):
        merge = lambda order, how=combine: dare(
            BASE, [DONORS[i] for i in order], masks=[masks[i] for i in order], density=0.5, combine=how
        )
        close(merge([2, 0, 1]), merge([0, 1, 2]))


def test_the_same_donors_are_the_donor():
    """And a base among equals is itself."""
    close(task_arithmetic(BASE, [DONORS[0]] * 3, normalize=True), DONORS[0])
    close(ties(BASE, [DONORS[0]] * 3, [1, 2, 5], density=1.0), DONORS[0])
    for merge in KINDS.values():
        close(merge(BASE, [BASE, BASE]), BASE)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"density": 0.0, "key": KEY}, "density is 0; .* above 0 and at most 1"),
        ({"density": 1.5, "key": KEY}, "density is 1.5"),
        ({}, "either a key"),
        ({"key": KEY, "masks": DONORS}, "either a key"),
        ({"masks": DONORS[:1]}, "1 masks for 3 donors"),
        (
            {"masks": [{"head": DONORS[0]["head"]}] * 3},
            "the mask of donor 0 lacks the leaf 'b8/conv0/bias' of the base",
        ),
    ],
)
def test_refusals(options, says):
    with pytest.raises(MergeError, match=says):
        dare(BASE, DONORS, **options)


def test_errors_name_the_leaf():
    with pytest.raises(MergeError, match=r"leaf 'x' is float64\[1\] in donor 1, float64\[2\] in the base"):
        task_arithmetic(leaf(1.0, 2.0), [leaf(1.0, 2.0), leaf(1.0)])
    with pytest.raises(MergeError, match="density is 0"):
        ties(BASE, DONORS, density=0.0)
