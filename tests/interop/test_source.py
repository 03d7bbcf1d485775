"""Sources: what a plan needs is read, leaf by leaf, and nothing else."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from gan_jax.config import ResNetConfig, net_to_dict
from gan_jax.interop import WeightsError, save_weights
from gan_jax.interop.source import open_weights
from gan_jax.interop.weights import WEIGHTS
from gan_jax.surgery import make_plan, transplant
from gan_jax.trees import digest, flatten, specs

RNG = np.random.default_rng(0)
TREES = {"g_ema": {name: RNG.standard_normal((4, 5)).astype(np.float32) for name in "abc"}}


@pytest.fixture
def folder(tmp_path):
    return save_weights(tmp_path / "w", TREES, {"net": net_to_dict(ResNetConfig(z_dim=3))})


def damage(folder, array):
    file = folder / WEIGHTS
    data = bytearray(file.read_bytes())
    data[data.find(array.tobytes())] ^= 1
    file.write_bytes(data)


def test_what_is_known_before_anything_is_read(folder):
    for array in TREES["g_ema"].values():
        damage(folder, array)
    source = open_weights(str(folder))
    assert source.net == ResNetConfig(z_dim=3) and source.specs == specs(TREES)
    assert source.digests == {path: digest(x) for path, x in flatten(TREES).items()}
    assert source.what == f"weights: {folder}" and len(source.digest) == 64


def test_damage_of_a_leaf_that_is_not_needed_is_not_met(folder):
    damage(folder, TREES["g_ema"]["b"])
    source = open_weights(str(folder))
    target = {"g_ema": {name: jax.ShapeDtypeStruct((4, 5), np.float32) for name in "ac"}}
    plan = make_plan(target, source.specs, unused="drop")
    out, report = transplant(plan, source, target, digests=source.digests)
    jax.tree.map(np.testing.assert_array_equal, out, {"g_ema": {name: TREES["g_ema"][name] for name in "ac"}})
    assert [row.digest for row in report.rows] == [digest(TREES["g_ema"][name]) for name in "ac"]
    jax.tree.map(np.testing.assert_array_equal, source.load(["g_ema/c"]), {"g_ema": {"c": TREES["g_ema"]["c"]}})


def test_damage_of_a_needed_leaf_is_told(folder):
    damage(folder, TREES["g_ema"]["b"])
    source = open_weights(str(folder))
    with pytest.raises(WeightsError, match=rf"leaf 'g_ema/b' in .*{WEIGHTS} is damaged"):
        transplant(make_plan(source.specs, source.specs), source, source.specs)
    with pytest.raises(WeightsError, match=r"no leaf 'g_ema/bb' in .* \(did you mean 'g_ema/b'"):
        source("g_ema/bb")


def test_the_digest_of_a_source_changes_with_any_of_its_leaves(tmp_path, folder):
    other = {"g_ema": {**TREES["g_ema"], "c": TREES["g_ema"]["c"] + 1}}
    assert open_weights(str(save_weights(tmp_path / "v", other, {}))).digest != open_weights(str(folder)).digest
