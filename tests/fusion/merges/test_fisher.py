"""Fisher merge and gradient matching: numbers by hand, the special cases of the paper, a minimum that they find."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.fusion.merges.averages import average
from gan_jax.fusion.merges.leaves import MergeError
from gan_jax.fusion.merges.task_vectors import task_arithmetic
from gan_jax.fusion.merges.weighted import fisher_merge, gradient_matching
from gan_jax.transfer.fisher import fisher
from tests.fusion.merges.cases import close, draw, leaf, positive

BASE, DONORS = draw(9), [draw(seed) for seed in range(3)]
FISHERS = [positive(seed) for seed in range(10, 13)]
ZERO = jax.tree.map(np.zeros_like, BASE)
WEIGHTS = [0.2, 0.5, 0.3]


def test_fisher_by_hand():
    donors, fishers = [leaf(1.0, 2.0), leaf(5.0, 6.0)], [leaf(3.0, 0.0), leaf(1.0, 0.0)]
    close(fisher_merge(donors, fishers), leaf(2.0, 4.0))
    close(fisher_merge(donors, fishers, [1, 3]), leaf(3.0, 5.0))
    close(fisher_merge(donors, fishers, floor=2.0), leaf((3 + 10) / 5, 4.0))


def test_fisher_of_a_size():
    """With `normalize`, a donor whose loss is a hundred times another's does not win by that."""
    donors, small = [leaf(1.0, 2.0), leaf(5.0, 6.0)], [leaf(3e-9, 1e-9), leaf(1e-9, 3e-9)]
    large = [small[0], leaf(1e-7, 3e-7)]
    close(fisher_merge(donors, small), average(donors))  # all below the floor
    close(fisher_merge(donors, small, normalize=True), leaf(2.0, 5.0))
    close(fisher_merge(donors, large, normalize=True), leaf(2.0, 5.0))


def test_matching_by_hand():
    """H_0 = 1, H = (3, 1), a = (1, 0.5): H = 4.5; the steps are 4/4.5 of 2 and half of 2/4.5 of 6."""
    merged = gradient_matching(
        leaf(1.0), [leaf(3.0), leaf(7.0)], [leaf(3.0), leaf(1.0)], [1, 0.5], base_fisher=leaf(1.0)
    )
    close(merged, leaf(1 + 4 / 4.5 * 2 + 0.5 * 2 / 4.5 * 6))


def test_matching_is_where_gradients_cancel():
    """It is the minimum of H_0 (x - base)^2 / 2 + sum a_i l_i, by the quadratic losses that make the donors what they are.

    With l_i = H_i (x - c_i)^2 / 2, donor i is (H_0 base + H_i c_i) / (H_0 + H_i).
    """
    pick = lambda tree: tree["head"]["kernel"]
    base, h0, h = pick(BASE), pick(positive(20)), [pick(f) for f in FISHERS]
    centres = [pick(donor) for donor in DONORS]
    donors = [(h0 * base + curve * c) / (h0 + curve) for curve, c in zip(h, centres)]
    best = (h0 * base + sum(a * curve * c for a, curve, c in zip(WEIGHTS, h, centres))) / (
        h0 + sum(a * curve for a, curve in zip(WEIGHTS, h))
    )
    of = lambda arrays: [{"x": x} for x in arrays]
    merged = gradient_matching({"x": base}, of(donors), of(h), WEIGHTS, base_fisher={"x": h0})
    assert_allclose(merged["x"], best, rtol=1e-12)


def test_special_cases_of_matching():
    match = lambda fishers, weights, prior, floor=0.0: gradient_matching(
        BASE, DONORS, fishers, weights, base_fisher=prior, floor=floor
    )
    close(match([ZERO] * 3, [0.4, 0.7, -0.2], positive(20)), task_arithmetic(BASE, DONORS, [0.4, 0.7, -0.2]))
    close(match([ZERO] * 3, [0.4, 0.7, 0.2], None, 1e-6), task_arithmetic(BASE, DONORS, [0.4, 0.7, 0.2]))
    close(match([ZERO] * 3, None, None), average(DONORS))  # H is zero
    close(match(FISHERS, WEIGHTS, None), fisher_merge(DONORS, FISHERS, WEIGHTS))
    close(match(FISHERS, [7.0 * w for w in WEIGHTS], ZERO), fisher_merge(DONORS, FISHERS, WEIGHTS))
    close(match([FISHERS[0]] * 3, WEIGHTS, FISHERS[0]), average(DONORS, WEIGHTS))


def test_what_one_donor_and_the_same_donors_give():
    for merged in (
        fisher_merge(DONORS[:1], FISHERS[:1]),
        fisher_merge([DONORS[0]] * 3, FISHERS, WEIGHTS),
        gradient_matching(BASE, DONORS[:1], FISHERS[:1], base_fisher=FISHERS[1]),
        gradient_matching(BASE, [DONORS[0]] * 3, FISHERS, WEIGHTS, base_fisher=positive(20)),
    ):
        close(merged, DONORS[0])
    jax.tree.map(assert_array_equal, gradient_matching(BASE, DONORS, FISHERS, [0.0] * 3, base_fisher=FISHERS[0]), BASE)


def test_relabelling_changes_nothing():
    order = [2, 0, 1]
    moved = [[things[i] for i in order] for things in (DONORS, FISHERS, WEIGHTS)]
    close(fisher_merge(*moved), fisher_merge(DONORS, FISHERS, WEIGHTS))
    close(gradient_matching(BASE, *moved), gradient_matching(BASE, DONORS, FISHERS, WEIGHTS))


def test_of_information_as_it_is_computed():
    """Two least-squares problems in one variable each: the merge solves both at once, as H is exact."""
    loss = lambda params, example: 0.5 * jnp.square(params["w"] @ example["x"] - example["y"])
    examples = lambda axis: {"x": jnp.eye(2)[jnp.full(4, axis)] * 2.0, "y": jnp.array([1.0, -1.0, 1.0, -1.0])}
    donors = [{"w": jnp.array([0.0, 5.0])}, {"w": jnp.array([7.0, 0.0])}]
    found = [fisher(loss, donor, examples(axis)) for axis, donor in enumerate(donors)]
    close(found[0], {"w": jnp.array([4.0, 0.0])})  # the residual's variance is 1, the input's square 4
    close(fisher_merge(donors, found), {"w": jnp.zeros(2)}, atol=1e-5)
    merged = jax.jit(lambda d, f: gradient_matching(d[0], d, f))(donors, found)
    close(merged, {"w": jnp.zeros(2)}, atol=1e-5)


@pytest.mark.parametrize(
    ("merge", "says"),
    [
        (lambda: fisher_merge(DONORS, FISHERS[:2]), "2 trees of Fisher information for 3 donors"),
        (lambda: fisher_merge(DONORS, FISHERS, floor=0.0), "floor is 0, .* use 1e-06"),
        (lambda: gradient_matching(BASE, DONORS, FISHERS, floor=-1.0), "floor is -1; it must not be negative"),
        (
            lambda: fisher_merge([leaf(1.0, 2.0)], [leaf(1.0)]),
            r"leaf 'x' is float64\[1\] in the Fisher information of donor 0, float64\[2\] in the donor",
        ),
        (
            lambda: gradient_matching(BASE, DONORS, FISHERS, base_fisher={"head": BASE["head"]}),
            "the Fisher information of the base lacks the leaf 'b8/conv0/bias' of the base",
        ),
    ],
)
def test_refusals(merge, says):
    with pytest.raises(MergeError, match=says):
        merge()
