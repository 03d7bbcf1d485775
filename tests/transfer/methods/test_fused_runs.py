"""Whole runs of fusion in features, of several teachers and of GAN Cocktail: recorded, plain, resumed to the bit."""

from __future__ import annotations

import dataclasses
import json

import jax
import pytest

from gan_jax import load, provenance
from gan_jax.cli.fuse import show
from gan_jax.config import DistillationConfig, FeatureFusionConfig, MLPConfig, RootingConfig
from gan_jax.nets.build import build
from gan_jax.transfer.run import run
from tests.train.checkpoint_states import assert_same
from tests.train.toy import run_config, save_pairs
from tests.transfer.methods.resumed import Stops

NET = MLPConfig(resolution=16, channels=1, z_dim=4, g_widths=(8,), d_widths=(8,))
METHODS = {
    "features": FeatureFusionConfig(fuse_kimg=0.032, distil_kimg=0.016, attention_width=4, drop=0.0),
    "aff": FeatureFusionConfig(fuse_kimg=0.016, distil_kimg=0.016, way="aff", points=("fc0",), drop=0.0),
    "teachers": DistillationConfig(distil_kimg=0.032),
    "cocktail": RootingConfig(root_kimg=0.032),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    save_pairs(folder, NET)
    return folder


@pytest.mark.parametrize("name", METHODS)
def test_a_run_leaves_a_plain_pair_that_says_where_it_is_from(sources, tmp_path, name):
    transfer = dataclasses.replace(METHODS[name], source=str(sources / "first"), donors=(str(sources / "second"),))
    config = dataclasses.replace(
        run_config(f"npz:{sources / 'data.npz'}", kimg=0.112, devices=1), net=NET, transfer=transfer
    )
    whole = run(config, tmp_path / "whole")
    found = json.loads((tmp_path / "whole" / "prepared.json").read_text())["fusion"]
    assert found["target"].endswith("first") and found["donors"][0]["donor"].endswith("second")
    assert int(whole.state.images) == 112, "the stages' images count"
    for root in ("g", "g_ema"):
        assert set(getattr(whole.state, root)) == {"params"}
        assert set(getattr(whole.state, root)["params"]) == set(build(NET).g.specs()["params"])
    assert whole.state.kept == {}
    text = provenance(tmp_path / "whole", "g_ema/params/fc0/kernel")
    assert "fused with" in text and "second" in text
    lines = show(tmp_path / "whole")
    assert lines[0] == "donors were taken in the order of their own channels" and "heat map" in "".join(lines)
    assert (tmp_path / "whole" / "fusion.png").exists()
    assert (tmp_path / "whole" / "shares.png").exists() == (name in ("features", "aff"))
    assert load(tmp_path / "whole").sample(jax.random.key(0), 2).shape == (2, 16, 16, 1)
    if name != "features":
        return
    with pytest.raises(Stops.Broken):
        run(config, tmp_path / "cut", Stops())
    (sources / "second").rename(sources / "moved")
    try:
        assert_same(run(config, tmp_path / "cut").state, whole.state)  # a resumed run reads no donor
    finally:
        (sources / "moved").rename(sources / "second")
