"""SNGAN as published grows in width, latents and classes, exactly; what it has no way for is refused; ResNet takes it up."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from gan_jax.config import ResNetConfig, SNGANConfig
from gan_jax.surgery import Action, PlanError, make_plan, pair_rules
from gan_jax.surgery.align import canonical, inverse, match_weights, permute, singular_vectors
from gan_jax.surgery.families import layouts
from gan_jax.trees import Rule, flatten, specs
from tests.surgery.align.copies import disguised
from tests.surgery.pairs import BASE, QUICK, compare, grow, make_pair

SMALL = SNGANConfig(8, 1, z_dim=4, g_widths=(6, 5), d_widths=(4, 5), d_rest=(5, 6))
WIDER: dict[str, Any] = {"z_dim": 6, "g_widths": (8, 8), "d_widths": (6, 7), "d_rest": (7, 9)}


def exact(old, old_variables, new, grown, modes=(False, True)):
    for train in modes:
        for name, difference in compare(old, old_variables, new, grown, train).items():
            assert difference.scale > 0.1, "the probes excite the net"
            assert difference.relative <= 1e-10, (name, train, str(difference))


@pytest.mark.parametrize("estimate", [pytest.param("refined", marks=pytest.mark.slow), "stored"])
def test_growth_is_exact_and_so_is_the_way_back(estimate):
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, SMALL, estimate=estimate)
        new, fresh = make_pair(1, SMALL, estimate=estimate, **WIDER)
        grown = grow(old, old_variables, new, fresh)
        exact(old, old_variables, new, grown)
        if estimate == "stored":
            v = np.asarray(grown["d"]["spectral"]["b4"]["conv1"]["v"]).reshape(3, 3, -1)
            assert np.abs(v[:, :, :4]).min() > 0 and not v[:, :, 4:].any()
        back = grow(new, grown, old, make_pair(2, SMALL, estimate=estimate)[1], {"narrow": "strongest"})
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), back, old_variables)


def test_labels_copies_and_a_broken_recipe():
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, SMALL)
        new, fresh = make_pair(1, SMALL, num_classes=3, **WIDER)
        copies = {"width": {"g": "net2wider"}}
        exact(old, old_variables, new, grow(old, old_variables, new, fresh, copies), (False,))
        rule = Rule("d/params/b4/conv1/kernel", Action("init"))
        loud = grow(old, old_variables, new, fresh, {"first": [rule]}, unused="drop")
        assert compare(old, old_variables, new, loud, False, "d")["d"].relative > 1e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 16}, "net.resolution goes from 8 to 16, which SNGANConfig has no way for"),
        ({"channels": 3}, "net.channels goes from 1 to 3"),
        ({"estimate": "stored"}, "net.estimate goes from refined to stored"),
        ({"d_rest": (5,)}, "the length of net.d_rest goes from 2 to 1"),
    ],
)
def test_what_has_no_way_is_refused(changes, message):
    old, new = SMALL, dataclasses.replace(SMALL, **changes)
    spec = {"g": {"x": jax.ShapeDtypeStruct((), "float32")}}
    with pytest.raises(PlanError, match=message):
        pair_rules(new, old, spec, spec)


@pytest.mark.parametrize("net", ["g", "d"])
def test_a_disguised_copy_is_recovered(net):
    with jax.enable_x64(True):
        pair, variables = make_pair(0, SMALL, estimate="stored")
        layout, a = layouts(pair.config)[net], variables[net]
        b, hidden = disguised(layout, a)
        same = compare(pair, variables, pair, {**variables, net: b}, False)[net]
        assert same.relative <= 1e-10, str(same)
        match = match_weights(layout, a, b)
        for group, order in inverse(hidden).items():
            np.testing.assert_array_equal(match.orders[group], order)
        recovered = permute(layout, canonical(layout, b), match.orders)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-10), recovered, canonical(layout, a))


def test_vectors_of_both_sides_are_made_anew():
    pair, variables = make_pair(0, SMALL, estimate="stored")
    made = singular_vectors(layouts(pair.config)["d"], variables["d"])
    x = jax.random.normal(jax.random.key(0), (3, 8, 8, 1))
    refined = {"params": made["params"], "spectral": {k: _only_u(v) for k, v in made["spectral"].items()}}
    other = make_pair(0, SMALL)[0]
    judge = lambda pair, v: jax.jit(pair.d.apply, compiler_options=QUICK)(v, x)[0]
    np.testing.assert_allclose(judge(pair, made), judge(other, refined), rtol=1e-4)
    assert not np.allclose(judge(pair, variables["d"]), judge(other, refined), rtol=1e-2), (
        "the drawn ones are no such pair"
    )


def _only_u(tree):
    return {"u": tree["u"]} if "u" in tree else {name: _only_u(inner) for name, inner in tree.items()}


def test_resnet_takes_it_up_by_role():
    source = SNGANConfig(16, 1, z_dim=8, g_widths=(6, 6, 6), d_widths=(6, 6), d_rest=(6,), estimate="stored")
    old, variables = make_pair(0, source)
    new, fresh = make_pair(1, BASE)
    assert isinstance(new.config, ResNetConfig)
    rules = pair_rules(new.config, old.config, specs(fresh), specs(variables))
    plan = make_plan(specs(fresh), specs(variables), rules, shape="adapt", missing="init", unused="drop")
    read = {entry.target: entry.sources for entry in plan.entries if entry.sources}
    assert read["g/params/b8/conv0/kernel"] == ("g/params/b8/conv0/kernel",)
    assert read["d/params/b16/conv1/kernel"] == ("d/params/b16/conv1/kernel",)
    assert read["d/params/from_rgb/kernel"] == ("d/params/b16/conv0/kernel",)
    grown = flatten(grow(old, variables, new, fresh, missing="init", unused="drop"))
    was = flatten(variables)
    np.testing.assert_array_equal(grown["g/params/stem/kernel"], was["g/params/stem/kernel"])
    kernel = np.asarray(was["d/params/b16/conv1/kernel"], np.float64)
    size = np.linalg.norm(kernel.reshape(-1, 6), 2)
    np.testing.assert_allclose(grown["d/params/b16/conv1/kernel"], kernel / size, rtol=1e-4)
