"""The verb merge: weights in, weights out, on disk; what does not fit is said and leaves nothing."""

from __future__ import annotations

import numpy as np
import pytest

from gan_jax import load
from gan_jax.config import MLPConfig
from gan_jax.fusion.merges import merge
from gan_jax.trees import flatten
from tests.train.toy import save_pairs

NET = MLPConfig(resolution=8, channels=1, z_dim=4, g_widths=(8,), d_widths=(8,))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    save_pairs(folder, NET, ("a", "b", "c"))
    return folder


def test_weights_are_merged_over_a_base(cli, pairs, tmp_path):
    a, b, c, out = (*(pairs / name for name in "abc"), tmp_path / "out")
    assert cli("merge", a, b, "--base", c, "--kind", "ties", "--density", 0.5, "--out", out) == 0, cli.err
    assert f"wrote {out}: gan-jax sample {out}" in cli.out and "ties merge of" in cli.out
    params = [load(one).variables["g_ema"]["params"] for one in (a, b, c)]
    expected = flatten(merge("ties", params[:2], base=params[2], density=0.5))
    for path, leaf in flatten(load(out).variables["g_ema"]["params"]).items():
        np.testing.assert_array_equal(leaf, expected[path], err_msg=path)
    assert cli("sample", out, "--n", 4, "--out", tmp_path / "x.png") == 0, cli.err
    assert cli("inspect", out, "--provenance") == 0, cli.err
    assert f"the ties merge of {a}, {b} over {c} (density 0.5)" in cli.out


def test_what_dare_drops_is_of_the_seed(cli, pairs, tmp_path):
    made = []
    for i, seed in enumerate((0, 0, 1)):
        words = ("--kind", "dare_linear", "--base", pairs / "c", "--density", 0.5, "--seed", seed)
        assert cli("merge", pairs / "a", pairs / "b", *words, "--out", tmp_path / str(i)) == 0, cli.err
        made.append(flatten(load(tmp_path / str(i)).variables))
    same = lambda x, y: all((x[path] == y[path]).all() for path in x)
    assert same(made[0], made[1]) and not same(made[0], made[2])


@pytest.mark.parametrize(
    "words, said",
    [
        (["a"], "two weights or more"),
        (["a", "b", "--kind", "ties"], "name that with --base"),
        (["a", "b", "--base", "c"], "merge uniform has no base"),
        (["a", "b", "--kind", "fisher"], "needs whole networks"),
        (["a", "b", "--kind", "tie"], "did you mean"),
        (["a", "b", "--density", "0.5"], "takes no 'density'"),
        (["a", "b", "c", "--kind", "slerp"], "is of 2 donors"),
        (["a", "nowhere"], "no weights at"),
    ],
)
def test_what_does_not_fit_is_said(cli, pairs, tmp_path, words, said):
    named = [pairs / word if word in ("a", "b", "c", "nowhere") else word for word in words]
    assert cli("merge", *named, "--out", tmp_path / "out") == 2
    assert said in cli.err and not (tmp_path / "out").exists()
