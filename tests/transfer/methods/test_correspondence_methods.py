"""CDC, RSSA and DCL on a small ResNet pair: what moves, what is paid at the start, anchors and patches, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from gan_jax.config import CDCConfig, ConfigError, DCLConfig, ResNetConfig, RSSAConfig
from gan_jax.nets.build import build
from gan_jax.transfer.methods import make_method
from tests.lanes import default_rows
from tests.transfer.methods import conformance as ask
from tests.transfer.methods.resumed import NET as MLP
from tests.transfer.methods.resumed import assert_resumes

NET = ResNetConfig(resolution=16, channels=1, z_dim=8, channel_base=64, channel_max=4)
CASES = {
    "cdc": (CDCConfig(anchor_every=2, anchors=3), {"consistency"}),
    "rssa": (RSSAConfig(anchor_every=2, disturbance_every=2), {"self_correlation", "cross_correlation"}),
    "dcl": (DCLConfig(), {"contrast_g", "contrast_d"}),
}


@pytest.mark.parametrize("name", default_rows(CASES, ["cdc"]))
def test_everything_trains_and_the_start_pays_nothing_for_what_it_is(name):
    transfer, terms = CASES[name]
    begun = ask.conform(ask.make_config(transfer, net=NET))
    state, (before, (after, later)) = begun.state, (begun.before, begun.after(4))
    assert ("graft" in state.nets["d"]["params"]) == (name != "dcl")
    _, metrics = begun.after(1)
    assert terms <= set(metrics)
    for term in terms & {"consistency", "self_correlation", "cross_correlation"}:
        # All but 0: D's update before G's has moved the running averages of G's norms, which fresh ones have far to go.
        np.testing.assert_allclose(metrics[term], 0, atol=0.02, err_msg="the source itself")
    assert all(later[term] != metrics[term] or term == "cross_correlation" for term in terms)
    still = [p for p in before if p.startswith(("g/params", "d/params")) and (before[p] == after[p]).all()]
    assert not still, still
    for path in before:
        if path.startswith("kept/"):
            np.testing.assert_array_equal(after[path], before[path], err_msg=path)
    plain = begun.method.plain("d", state.nets["d"])
    assert set(plain["params"]) == set(begun.start.nets["d"]["params"])


def test_anchors_and_patches_take_turns():
    """In a step near an anchor the patches' head has no gradient, and latents lie around the anchors."""
    begun = ask.conform(ask.make_config(CASES["cdc"][0], net=NET))
    head = "d/params/graft/patch/kernel"
    steps = [begun.before, begun.after(1)[0], begun.after(2)[0]]
    np.testing.assert_array_equal(steps[1][head], steps[0][head])
    assert (steps[2][head] != steps[1][head]).all()
    anchors = np.asarray(begun.state.constants["anchors"])
    assert anchors.shape == (3, 8) and anchors.std() > 0.3


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_same_game_everywhere(name):
    config = ask.make_config(CASES[name][0], net=NET)
    begun = ask.conform(config)
    ask.assert_identity(begun)
    ask.assert_only(begun, lambda path: True, times=4)
    ask.assert_baked(begun)
    if name == "rssa":  # whose L1 distance between maps has a kink at the start: rounding decides its slope
        begun = ask.conform(ask.make_config(RSSAConfig(disturbance=0.0), net=NET))
    ask.assert_same_on_devices(begun)


@pytest.mark.slow
def test_dcl_resumes_on_a_pair_without_maps(tmp_path):
    assert_resumes(DCLConfig(), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cdc", "rssa"])
def test_resumes(name, tmp_path):
    assert_resumes(CASES[name][0], tmp_path, NET)


def test_what_cannot_be():
    with pytest.raises(ConfigError, match="feature maps need a G with maps.*use cdc or dcl"):
        make_method(RSSAConfig(), build(MLP))
    with pytest.raises(ConfigError, match="logits of patches need a map of D of 5 px.*change transfer.patch_px"):
        make_method(CDCConfig(patch_px=5), build(NET))
    for transfer in (CDCConfig(networks="d"), DCLConfig(networks="d")):
        with pytest.raises(ConfigError, match="transfer.networks is d"):
            make_method(transfer, build(NET))
