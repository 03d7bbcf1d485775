"""The verb align: a disguised copy comes back as what it was made from, and the sampler sees no difference."""

import jax
import numpy as np
import pytest

import gan_jax
from gan_jax.surgery.families import layouts
from gan_jax.tasks.model import save
from gan_jax.trees import digest, flatten
from tests.lanes import default_rows
from tests.surgery.align.copies import disguised
from tests.surgery.pairs import make_pair


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Folders of a pair and of its disguised copy."""
    folder = tmp_path_factory.mktemp("weights")
    pair, variables = make_pair(0, num_classes=3)
    found = layouts(pair.config)
    copies = {net: disguised(found[net], variables[net])[0] for net in ("g", "d")}
    for name, tree in (("first", variables), ("second", copies)):
        save(folder / name, pair.config, {"g_ema": tree["g"], "d": tree["d"]}, {"licence": "MIT"})
    return folder


@pytest.mark.parametrize("by", default_rows(["weights", "activations"], ["weights"]))
def test_a_disguised_copy_comes_back(cli, weights, tmp_path, by):
    first, second, out = weights / "first", weights / "second", tmp_path / "out"
    assert cli("align", first, second, "--out", out, "--by", by, "--n", 64) == 0, cli.err
    assert f"wrote {out}" in cli.out and "-> 1.000" in cli.out if by == "weights" else "d: correlation" in cli.out
    a, b, aligned = (gan_jax.load(path) for path in (first, second, out))
    expected, found = flatten(a.variables), flatten(aligned.variables)
    for path in expected:
        np.testing.assert_allclose(found[path], expected[path], rtol=2e-4, atol=2e-5, err_msg=path)
    assert not np.allclose(flatten(b.variables)["g_ema/params/stem/kernel"], found["g_ema/params/stem/kernel"])
    (step,) = aligned.manifest["history"]
    assert set(step["leaves"]) == set(expected) and step["source"]["name"] == str(second)
    stem = step["leaves"]["g_ema/params/stem/kernel"]
    assert stem["op"] == "gather+rescale" and stem["digest"] == digest(found["g_ema/params/stem/kernel"])
    assert sorted(stem["args"]["index"]) == list(range(16 * 6))
    assert aligned.manifest["aligned"] == {"with": str(first), "by": by, "seed": 0}
    assert aligned.manifest["licence"] == "MIT"
    same = [np.asarray(model.sample(jax.random.key(0), 6), np.int32) for model in (b, aligned)]
    assert np.abs(same[0] - same[1]).max() <= 1 and same[0].std() > 5


def test_two_architectures_are_refused(cli, weights, tmp_path):
    pair, variables = make_pair(0, num_classes=3, channel_max=4)
    save(tmp_path / "other", pair.config, {"d": variables["d"]}, {})
    assert cli("align", weights / "first", tmp_path / "other", "--out", tmp_path / "x") == 2
    assert "two architectures" in cli.err and "channel_max: 6 -> 4" in cli.err and "transplant" in cli.err


def test_nothing_in_common(cli, weights, tmp_path):
    pair, variables = make_pair(0, num_classes=3)
    save(tmp_path / "d", pair.config, {"d": variables["d"]}, {})
    save(tmp_path / "g", pair.config, {"g_ema": variables["g"]}, {})
    assert cli("align", tmp_path / "d", tmp_path / "g", "--out", tmp_path / "x") == 2
    assert "both must hold a generator" in cli.err
    assert cli("align", weights / "first", tmp_path / "d", "--out", tmp_path / "x", "--by", "activations") == 2
    assert cli("align", weights / "first", tmp_path / "d", "--out", tmp_path / "x", "--n", 1) == 2
    assert "--n is 1" in cli.err
