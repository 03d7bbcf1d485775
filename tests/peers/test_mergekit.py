"""Merges against mergekit's on random tensors: the same numbers from the same weights, densities and masks.

mergekit wants transformers, its arithmetic does not: `make test-peers` installs it without what it depends on.
"""

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax.fusion.merges import merge
from gan_jax.fusion.merges.task_vectors import dare
from gan_jax.trees import flatten
from tests.fusion.merges.cases import draw

SHAPES = {"conv/kernel": (3, 3, 7, 8), "fc/kernel": (40, 11), "fc/bias": (11,), "gain": (1,)}
BASE, DONORS = draw(9, SHAPES), [draw(seed, SHAPES) for seed in range(3)]
WEIGHTS = [0.3, 1.1, 0.8]


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    with jax.enable_x64(request.param == "float64"):
        yield request.param


@pytest.fixture
def agree(peer, dtype):
    """`agree(ours, name of theirs, donors, base, inputs, options)`: leaf by leaf to 1e-6.

    `ours` is `(donors, base) -> tree`; inputs are parameters with a value for each donor, options those with one for all.
    """
    methods = peer("mergekit.merge_methods")
    import torch

    def check(ours, name, donors, base=None, inputs=None, options=None, rtol=1e-6):
        cast = lambda tree: jax.tree.map(lambda x: x.astype(dtype), tree)
        donors, base = [cast(d) for d in donors], None if base is None else cast(base)
        found = flatten(ours(donors, base))
        ids = [f"donor{i}" for i in range(len(donors))]
        each = {key: dict(zip(ids, values, strict=True)) for key, values in (inputs or {}).items()}
        for path, mine in found.items():
            trees, named = (donors, ids) if base is None else ([base, *donors], ["base", *ids])
            theirs = methods.merge_tensors(
                [torch.from_numpy(flatten(tree)[path]) for tree in trees],
                name, parameters={**each, **(options or {})}, ids=named, base_index=None if base is None else 0,
            )  # fmt: skip
            assert mine.dtype == dtype and theirs.shape == mine.shape
            assert_allclose(mine, theirs.numpy(), rtol=rtol, atol=rtol, err_msg=path)

    return check


@pytest.mark.parametrize("normalize", [True, False])
def test_linear(agree, normalize):
    ours = lambda donors, _: merge("average", donors, weights=WEIGHTS, normalize=normalize)
    agree(ours, "linear", DONORS, None, {"weight": WEIGHTS}, {"normalize": normalize})


@pytest.mark.parametrize("t", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("near", [False, True])
def test_slerp(agree, t, near):
    """Of what has nothing in common and of what is nearly parallel; `gain` has one value and no angle but 0 or 180."""
    other = jax.tree.map(lambda a, b: a + 0.01 * b, DONORS[0], DONORS[1]) if near else DONORS[1]
    ours = lambda donors, base: merge("slerp", [base, *donors], t=t)
    agree(ours, "slerp", [other], DONORS[0], {}, {"t": t})


def test_karcher(agree):
    """After so many steps both have arrived; theirs stops at arcs of 1e-5, of tensors that are 20 long."""
    shapes = {
        path: shape for path, shape in SHAPES.items() if path != "gain"
    }  # signs cancel: of them ours is the average
    donors = [draw(seed, shapes) for seed in range(3)]
    agree(
        lambda donors, _: merge("karcher", donors, iterations=60), "karcher", donors, None, {}, {"max_iter": 60}, 1e-4
    )


@pytest.mark.parametrize(("normalize", "lam"), [(False, 1.0), (False, 0.4), (True, 1.0)])
def test_task_arithmetic(agree, normalize, lam):
    ours = lambda donors, base: merge(
        "task_arithmetic", donors, base=base, weights=WEIGHTS, lam=lam, normalize=normalize
    )
    agree(ours, "task_arithmetic", DONORS, BASE, {"weight": WEIGHTS}, {"normalize": normalize, "lambda": lam})


@pytest.mark.parametrize("density", [0.05, 0.2, 0.5, 1.0])
@pytest.mark.parametrize(("normalize", "lam"), [(True, 1.0), (False, 0.4)])
def test_ties(agree, density, normalize, lam):
    options = {"density": density, "normalize": normalize, "lam": lam}
    ours = lambda donors, base: merge("ties", donors, base=base, weights=WEIGHTS, **options)
    inputs = {"weight": WEIGHTS, "density": [density] * 3}
    agree(ours, "ties", DONORS, BASE, inputs, {"normalize": normalize, "lambda": lam})


@pytest.mark.parametrize("combine", ["linear", "ties"])
@pytest.mark.parametrize("normalize", [True, False])
def test_dare_given_masks(agree, monkeypatch, combine, normalize):
    """Theirs draws what it is given; left unscaled, it is ours with the factor `1 / density` in its lambda."""
    import torch

    density, rng = 0.4, np.random.default_rng(5)
    masks = [jax.tree.map(lambda x: rng.random(x.shape) < density, BASE) for _ in DONORS]
    queue = [torch.from_numpy(flatten(mask)[path]) for path in flatten(BASE) for mask in masks]
    monkeypatch.setattr(torch, "bernoulli", lambda p: queue.pop(0).reshape(p.shape).to(p.dtype))
    options = {"masks": masks, "density": density, "combine": combine, "normalize": normalize}
    ours = lambda donors, base: dare(base, donors, WEIGHTS, **options)
    inputs = {"weight": WEIGHTS, "density": [density] * 3}
    parameters = {"normalize": normalize, "rescale": False, "lambda": 1 / density}
    agree(ours, f"dare_{combine}", DONORS, BASE, inputs, parameters)
    assert not queue
