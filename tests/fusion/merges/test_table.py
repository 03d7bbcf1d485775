"""What every merge of the table must hold, whatever it needs; what is refused before anything is computed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.fusion.merges import MERGES, NEEDS, merge
from gan_jax.fusion.merges.leaves import MergeError
from tests.fusion.merges.cases import close, draw, leaf
from tests.lanes import default_rows

SHAPES = {"b4/conv0/kernel": (2, 4), "b16/conv1/bias": (4,), "to_rgb/kernel": (4,)}
BASE, DONORS = draw(9, SHAPES), [draw(seed, SHAPES) for seed in range(3)]
FOR_ONE = {"fishers": lambda i: jax.tree.map(jnp.square, draw(20 + i, SHAPES)), "grams": lambda i: gram(i)}
SUMS_TO_ONE = {
    "task_arithmetic": {"normalize": True},
    "ties": {"density": 1.0},
    "dare_linear": {"density": 1.0, "normalize": True},
    "dare_ties": {"density": 1.0, "normalize": True},
}


def gram(i):
    x = np.random.default_rng(i).normal(size=(9, 2))
    return {"b4/conv0/kernel": jnp.asarray(x.T @ x)[None]}


def score(tree):
    return float(sum(jnp.abs(x).sum() for x in jax.tree.leaves(tree)))


def given(kind, order):
    """What a merge needs, for donors in this order."""
    ready = {"base": BASE, "key": jax.random.key(0), "score": score, "mid": 2.0}
    return {n: [FOR_ONE[n](i) for i in order] if n in FOR_ONE else ready[n] for n in MERGES[kind].needs}


def merged(kind, order, **options):
    return merge(kind, [DONORS[i] for i in order], **given(kind, order), **options)


def order_of(kind):
    return list(range(MERGES[kind].count or 3))


def test_needs_are_explained():
    assert {name for row in MERGES.values() for name in row.needs} == NEEDS.keys()
    assert MERGES["ties"].options == {"weights": None, "density": 0.2, "lam": 1.0, "normalize": True, "majority": None}
    assert MERGES["dare_ties"].options["density"] == 0.1 and not MERGES["uniform"].options


@pytest.mark.parametrize("kind", MERGES)
def test_the_same_donors_are_the_donor(kind):
    n = len(order_of(kind))
    close(merge(kind, [DONORS[0]] * n, **given(kind, range(n)), **SUMS_TO_ONE.get(kind, {})), DONORS[0], 1e-9, 1e-9)
    if MERGES[kind].count is None:
        close(merge(kind, DONORS[:1], **given(kind, [0]), **SUMS_TO_ONE.get(kind, {})), DONORS[0], 1e-9, 1e-9)


@pytest.mark.parametrize("kind", [kind for kind, row in MERGES.items() if row.symmetric])
def test_relabelling_changes_nothing(kind):
    order = order_of(kind)
    close(merged(kind, order[::-1]), merged(kind, order), 1e-9, 1e-9)


COMPILED = ["uniform", "ties", "dare_linear", "fisher", "regmean", "greedy_soup"]


@pytest.mark.parametrize("kind", default_rows(MERGES, COMPILED))
def test_dtypes_and_compiling(kind):
    """The result is in half precision as the donors are, and compiled it is the same."""
    half = lambda tree: jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), tree)
    order = order_of(kind)
    needs = given(kind, order) | ({"base": half(BASE)} if "base" in MERGES[kind].needs else {})
    donors = [half(DONORS[i]) for i in order]
    eager = merge(kind, donors, **needs)
    assert {x.dtype for x in jax.tree.leaves(eager)} == {jnp.dtype(jnp.bfloat16)}
    if kind != "greedy_soup":
        close(jax.jit(lambda donors: merge(kind, donors, **needs))(donors), eager, 1e-2, 1e-2)


@pytest.mark.parametrize("kind", MERGES)
def test_errors_name_the_leaf(kind):
    wrong = {**DONORS[1], "to_rgb": {"kernel": np.zeros(5)}}
    order = order_of(kind)
    donors = [wrong if i == 1 else DONORS[i] for i in order]
    needs = given(kind, order)
    if "fishers" in needs:
        needs["fishers"][1] = jax.tree.map(np.zeros_like, wrong)
    with pytest.raises(MergeError, match=r"leaf 'to_rgb/kernel' is float64\[5\] in donor 1, float64\[4\] in"):
        merge(kind, donors, **needs)


@pytest.mark.parametrize(
    ("kind", "donors", "options", "says"),
    [
        ("slrp", DONORS, {}, r"no merge 'slrp' \(did you mean 'slerp'"),
        ("ties", DONORS, {}, "'ties' needs 'base': the tree that the donors were fine-tuned from"),
        ("fisher", DONORS, {"base": BASE}, "'fisher' needs 'fishers': diagonal"),
        (
            "ties",
            DONORS,
            {"base": BASE, "densty": 0.1},
            r"takes no 'densty' \(did you mean 'density'\?\); it takes base, weights",
        ),
        ("uniform", DONORS, {"weights": [1, 2, 3]}, "'uniform' takes no 'weights'; it takes no options"),
        ("slerp", DONORS, {}, "'slerp' is of 2 donors, but there are 3"),
    ],
)
def test_refusals(kind, donors, options, says):
    with pytest.raises(MergeError, match=says):
        merge(kind, donors, **options)


def test_a_base_that_is_not_needed_is_left_aside():
    close(merge("uniform", [leaf(1.0), leaf(3.0)], base=leaf(7.0, 8.0), **{}), leaf(2.0))
