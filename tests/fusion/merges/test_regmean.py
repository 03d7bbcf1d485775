"""RegMean against least squares on all rows at once, for dense layers and convolutions, in groups too."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax.fusion.merges.averages import average
from gan_jax.fusion.merges.leaves import MergeError
from gan_jax.fusion.merges.weighted import gram, mean_gram, regmean
from gan_jax.nets.inside import kernel_inputs, windows
from tests.fusion.merges.cases import close, draw
from tests.lanes import default_rows
from tests.nets.families import inputs, pair_of

RNG = np.random.default_rng(0)
SHAPES = {"conv/kernel": (3, 3, 2, 4), "grouped/kernel": (3, 3, 2, 4), "head/kernel": (5, 3), "head/bias": (3,)}
DONORS = [draw(seed, SHAPES) for seed in range(3)]
EXACT = {"shrink": 1.0, "ridge": 0.0}


@functools.cache
def rows(seed):
    """Inputs of a donor's kernels; the grouped one reads four channels in two runs."""
    rng = np.random.default_rng(seed)
    maps = lambda c: jnp.asarray(rng.normal(size=(4, 6, 6, c)) + rng.normal(size=c))
    return {
        "conv/kernel": windows(maps(2), 3, pad=1),
        "grouped/kernel": windows(maps(4), 3, pad=1, groups=2),
        "head/kernel": jnp.asarray(rng.normal(size=(1, 40, 5)) + 1),
    }


@functools.cache
def grams():
    return [gram(rows(seed)) for seed in range(3)]


def test_by_hand():
    """One input, Gram 1 and 3: the mean weighted by them. Two inputs, each seen by one donor alone."""
    of = lambda *diagonal: {"x": np.diag(np.array(diagonal, np.float64))[None]}
    kernel = lambda *values: {"x": np.array(values, np.float64)[:, None]}
    close(regmean([kernel(2.0), kernel(6.0)], [of(1.0), of(3.0)], ridge=0.0), kernel(5.0))
    merged = regmean([kernel(2.0, 1.0), kernel(6.0, 7.0)], [of(1.0, 0.0), of(0.0, 2.0)], ridge=0.0)
    close(merged, kernel(2.0, 7.0))
    close(regmean([kernel(2.0), kernel(6.0)], [of(0.0), of(0.0)]), kernel(4.0))  # seen by none
    full = {"x": np.array([[[2.0, 1.0], [1.0, 2.0]]])}
    merged = regmean([kernel(1.0, 0.0), kernel(0.0, 1.0)], [full, of(2.0, 2.0)], shrink=0.5, ridge=0.0)
    left = np.array([[4.0, 0.5], [0.5, 4.0]])  # [[2, .5], [.5, 2]] + [[2, 0], [0, 2]]
    close(merged, {"x": np.linalg.solve(left, np.array([[2.0], [2.5]]))})


@pytest.mark.parametrize("weights", default_rows([None, [1.0, 2.0, 5.0]], [[1.0, 2.0, 5.0]]))
def test_least_squares_over_all_rows(weights):
    """What donors do on their own inputs, as one regression for each layer and group."""
    merged = regmean(DONORS, grams(), weights, **EXACT)
    for path, groups in (("conv", 1), ("grouped", 2), ("head", 1)):
        x = [
            np.asarray(of[f"{path}/kernel"]) * np.sqrt((weights or [1] * 3)[i])
            for i, of in enumerate(map(rows, range(3)))
        ]
        w = [np.asarray(d[path]["kernel"]).reshape(-1, groups, d[path]["kernel"].shape[-1] // groups) for d in DONORS]
        found = np.asarray(merged[path]["kernel"]).reshape(w[0].shape)
        for g in range(groups):
            targets = np.concatenate([x[i][g] @ w[i][:, g] for i in range(3)])
            best = np.linalg.lstsq(np.concatenate([v[g] for v in x]), targets)[0]
            assert_allclose(found[:, g], best, rtol=1e-9)
    close(merged["head"]["bias"], average(DONORS, weights)["head"]["bias"])


def test_what_must_hold():
    close(regmean(DONORS[:1], grams()[:1]), DONORS[0], rtol=1e-9)
    close(regmean([DONORS[0]] * 3, grams()), DONORS[0], rtol=1e-9)
    order = [2, 0, 1]
    close(regmean([DONORS[i] for i in order], [grams()[i] for i in order]), regmean(DONORS, grams()), rtol=1e-9)
    close(regmean(DONORS, [grams()[0]] * 3), average(DONORS), rtol=1e-9)  # the same inputs
    close(regmean(DONORS, [{}] * 3), average(DONORS))
    diagonal = regmean(DONORS, grams(), shrink=0.0, ridge=0.0)["head"]["kernel"]
    d = [np.diagonal(np.asarray(g["head/kernel"])[0])[:, None] for g in grams()]
    assert_allclose(diagonal, sum(a * x["head"]["kernel"] for a, x in zip(d, DONORS)) / sum(d), rtol=1e-12)
    close(jax.jit(regmean)(DONORS, grams()), regmean(DONORS, grams()), rtol=1e-9)


def test_few_rows_stay_finite():
    """Fewer rows than inputs, and an input that is always zero: of which the kernel is averaged."""
    x = RNG.normal(size=(2, 1, 3, 5))
    x[..., 4] = 0
    donors = [{"kernel": d["head"]["kernel"]} for d in DONORS[:2]]
    merged = regmean(donors, [gram({"kernel": jnp.asarray(of)}) for of in x])["kernel"]
    assert np.isfinite(merged).all() and np.abs(merged).max() < 10
    assert_allclose(merged[4], average(donors)["kernel"][4], rtol=1e-6)


def test_means_over_batches():
    x = jnp.asarray(RNG.normal(size=(1, 12, 5)))
    whole = gram({"k": x})["k"]
    assert_allclose(whole[0], np.asarray(x[0]).T @ np.asarray(x[0]) / 12)
    assert_allclose(mean_gram(gram({"k": part}) for part in jnp.split(x, 3, axis=1))["k"], whole)
    with pytest.raises(MergeError, match="no batch"):
        mean_gram([])


def test_on_a_network():
    """Donors whose first layer differs, on one set of latents: the merge gives what least squares can of both."""
    with jax.enable_x64(False):
        pair = pair_of("mlp", 16)
        z = inputs(pair.config, 64)[0]
        see = jax.jit(lambda key, z: (v := pair.g.init(key), gram(kernel_inputs(pair.g, v, z))))
        (one, found), (other, more) = (see(jax.random.key(i), z * (1 + i)) for i in range(2))
        donors, found = [one, other], [found, more]
        merged = jax.jit(lambda d, g: regmean(d, g, shrink=1.0))([donor["params"] for donor in donors], found)
        assert found[0].keys() == {"fc0/kernel", "fc1/kernel", "to_rgb/kernel"}
        w = [np.asarray(donor["params"]["fc0"]["kernel"]) for donor in donors]
        assert_allclose(merged["fc0"]["kernel"], (w[0] + 4 * w[1]) / 5, atol=1e-4)  # the second saw them twice as large


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda g: g[:2], "Gram matrices of 2 donors for 3 donors"),
        (
            lambda g: [*g[:2], {k: v for k, v in g[2].items() if "head" not in k}],
            "donor 2 has no Gram .* 'head/kernel', donor 0",
        ),
        (lambda g: [{}, *g[1:]], "donor 0 has no Gram matrix for 'conv/kernel', donor 1 has"),
        (lambda g: [{**one, "hed/kernel": 0} for one in g], "for 'hed/kernel', which is no leaf .*'head/kernel'"),
        (
            lambda g: [{**one, "head/kernel": np.eye(4)[None]} for one in g],
            r"donor 0 for 'head/kernel' is \[1, 4, 4\], for a kernel \[5, 3\] it must be \[groups, 5, 5\]",
        ),
    ],
)
def test_refusals(change, says):
    with pytest.raises(MergeError, match=says):
        regmean(DONORS, change(grams()))
