"""Surgery of fully connected pairs: what is exact is so to 1e-10 in float64; broken on purpose, the same test sees it."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from gan_jax.config import MLPConfig, ResNetConfig
from gan_jax.surgery import Action, PlanError, make_plan, measure_pair, pair_rules
from gan_jax.surgery.align import canonical, inverse, match_weights, permute
from gan_jax.surgery.families import layouts
from gan_jax.surgery.families.notes import plan_notes
from gan_jax.surgery.ops.basic import OpError
from gan_jax.surgery.ops.dense import fold_shape, image_matrix, in_pairs, pass_on_shape, resample_shape
from gan_jax.trees import Rule, specs
from tests.surgery.align.copies import disguised
from tests.surgery.pairs import compare, grow, latents, make_pair

SMALL = MLPConfig(resolution=6, z_dim=4, g_widths=(7, 5), d_widths=(6, 5))


def exact(old, old_variables, new, grown, nets="gd"):
    for name, difference in compare(old, old_variables, new, grown, False, nets).items():
        assert difference.scale > 0.1, "the probes excite the net"
        assert difference.largest <= 1e-10, (name, str(difference))


DEEPER = {"g_widths": (7, 5, 6, 5), "d_widths": (6, 5, 10, 11)}  # D's leaky layers carry pairs
GROWN: dict[str, dict[str, Any]] = {
    "wider": {"g_widths": (9, 8), "d_widths": (8, 9)},
    "more latents": {"z_dim": 7},
    "deeper": DEEPER,
    "deeper and wider": {"g_widths": (8, 9, 9), "d_widths": (7, 9, 14)},
    "larger": {"resolution": 12},
    "much larger and in colour": {"resolution": 24, "channels": 3},
    "all": {"resolution": 12, "channels": 3, "z_dim": 6, "g_widths": (8, 9, 9), "d_widths": (7, 9, 14)},
}


@pytest.mark.parametrize(
    "what", [what if what in ("deeper", "all") else pytest.param(what, marks=pytest.mark.slow) for what in GROWN]
)
def test_growth_is_exact_and_so_is_the_way_back(what):
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, SMALL)
        new, fresh = make_pair(1, SMALL, **GROWN[what])
        grown = grow(old, old_variables, new, fresh)
        exact(old, old_variables, new, grown)
        back = grow(new, grown, old, make_pair(2, SMALL)[1], unused="drop")
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), back, old_variables)


def test_alpha_is_opaque():
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, SMALL)
        new, fresh = make_pair(1, SMALL, channels=4)
        grown = grow(old, old_variables, new, fresh)
        exact(old, old_variables, new, grown, "d")
        z = latents(old, 5)
        images, was = (pair.g.apply(v["g"], z)[0] for pair, v in ((new, grown), (old, old_variables)))
        np.testing.assert_allclose(images[..., :3], was.repeat(3, axis=3), atol=1e-10)
        np.testing.assert_allclose(images[..., 3], np.tanh(4.0), atol=1e-10)


@pytest.mark.parametrize(
    "what", [*(pytest.param(what, marks=pytest.mark.slow) for what in ("wider", "deeper and wider")), "all"]
)
def test_copies_are_exact(what):
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, SMALL)
        new, fresh = make_pair(1, SMALL, **GROWN[what])
        grown = grow(old, old_variables, new, fresh, {"width": "net2wider", "seed": 2})
        exact(old, old_variables, new, grown)
        first = np.asarray(grown["g"]["params"]["fc0"]["kernel"])[:4]
        assert all(any((first[:, i] == first[:, j]).all() for j in range(7)) for i in range(7, first.shape[1]))


def test_one_unit_is_copied():
    with jax.enable_x64(True):
        one = {"g_widths": (7, 1), "d_widths": (1, 5)}
        old, old_variables = make_pair(0, SMALL, **one)
        new, fresh = make_pair(1, SMALL, g_widths=(7, 3), d_widths=(4, 5))
        exact(old, old_variables, new, grow(old, old_variables, new, fresh, {"width": "net2wider"}))


@pytest.mark.parametrize(
    ("changes", "leaf", "net"),
    [
        ({"g_widths": (9, 8)}, "g/params/fc1/kernel", "g"),
        (DEEPER, "g/params/fc3/kernel", "g"),
        (DEEPER, "d/params/fc3/kernel", "d"),
        ({"num_classes": 3}, "d/params/embed/embedding", "d"),
    ],
)
def test_a_broken_recipe_is_seen(changes, leaf, net):
    old, old_variables = make_pair(0, SMALL)
    new, fresh = make_pair(1, SMALL, **changes)
    loud = grow(old, old_variables, new, fresh, {"first": [Rule(leaf, Action("init"))]}, unused="drop")
    assert compare(old, old_variables, new, loud, False, net)[net].relative > 1e-3


def test_labels_say_nothing_at_first_and_classes_start_from_old_ones():
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, SMALL)
        new, fresh = make_pair(1, SMALL, num_classes=3)
        exact(old, old_variables, new, grow(old, old_variables, new, fresh))
        few, few_variables = make_pair(2, SMALL, num_classes=2)
        grown = grow(few, few_variables, new, fresh, {"classes": [1, 0, -1]})
        for net in "gd":
            rows = np.asarray(few_variables[net]["params"]["embed"]["embedding"])
            wanted = np.stack([rows[1], rows[0], rows.mean(0)])
            np.testing.assert_allclose(grown[net]["params"]["embed"]["embedding"], wanted)
        deeper, fresh = make_pair(3, SMALL, num_classes=2, **DEEPER)
        grown = grow(few, few_variables, deeper, fresh)
        exact(few, few_variables, deeper, grown)
        exact(deeper, grown, few, grow(deeper, grown, few, make_pair(4, SMALL, num_classes=2)[1], unused="drop"))


def test_narrowing_takes_what_matters_least():
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, SMALL)
        wide, fresh = make_pair(1, SMALL, g_widths=(9, 8), d_widths=(8, 9))
        grown = grow(old, old_variables, wide, fresh)
        layout = layouts(wide.config)
        shuffled = {net: permute(layout[net], grown[net], {"fc0": np.arange(8 + (net == "g"))[::-1]}) for net in "gd"}
        back = grow(wide, shuffled, old, make_pair(2, SMALL)[1], {"narrow": "strongest"})
        exact(old, old_variables, old, back)
        plain = grow(wide, shuffled, old, make_pair(2, SMALL)[1])
        assert compare(old, old_variables, old, plain, False)["g"].relative > 1e-2, "leading units are others now"
    new, _ = make_pair(3, SMALL, g_widths=(7, 4, 4))
    target, source = specs(make_pair(3, SMALL, g_widths=(7, 4, 4))[1]), specs(old_variables)
    with pytest.raises(PlanError, match="channels of g/params/fc1 by the layers behind it.*in two plans"):
        pair_rules(new.config, old.config, target, source, narrow="strongest")


def notes(changes, **options):
    old, variables = make_pair(0, SMALL)
    new, fresh = make_pair(1, SMALL, **changes)
    target, source = specs(fresh), specs(variables)
    rules = pair_rules(new.config, old.config, target, source)
    return plan_notes(make_plan(target, source, rules, shape="adapt", **options))


def test_notes_say_what_is_exact():
    assert all("function preserved" in note for note in notes(GROWN["all"]))
    d, g = notes({"resolution": 3})
    assert "not preserved: means of pixels taken before the tanh" in g and "details of the larger image" in d
    assert all("not preserved: pixels interpolated" in note for note in notes({"resolution": 8}))
    d, g = notes({"g_slope": 0.1, "bounded": False, "d_slope": 0.1})
    assert "G ends in a tanh in one of both only" in g and "another slope below zero" in d
    assert all("layers folded" in note for note in notes({"g_widths": (7,), "d_widths": (6,)}, unused="drop"))


def test_sizes_that_are_no_multiples_are_interpolated_and_measured():
    old, variables = make_pair(0, SMALL)
    new, fresh = make_pair(1, SMALL, resolution=8)
    grown = grow(old, variables, new, fresh)
    measured = measure_pair(old, variables, new, grown, jax.random.key(0))
    assert all(1e-4 < difference.relative < 2 for difference in measured.values()), str(measured)
    unbounded, _ = make_pair(0, SMALL, bounded=False)
    larger, fresh = make_pair(1, SMALL, bounded=False, resolution=8)
    grown = grow(unbounded, variables, larger, fresh)
    assert measure_pair(unbounded, variables, larger, grown, jax.random.key(0))["g"].relative < 1e-5


def test_a_layer_that_is_too_narrow_to_pass_units_on_is_missing():
    old, variables = make_pair(0, SMALL)
    new, fresh = make_pair(1, SMALL, d_widths=(6, 5, 9))
    with pytest.raises(PlanError, match="'d/params/fc2/kernel' .* which the source lacks"):
        grow(old, variables, new, fresh)
    grown = grow(old, variables, new, fresh, missing="init")
    np.testing.assert_array_equal(grown["d"]["params"]["fc1"]["kernel"], variables["d"]["params"]["fc1"]["kernel"])


@pytest.mark.parametrize("net", ["g", "d"])
def test_a_permuted_and_rescaled_copy_is_recovered(net):
    with jax.enable_x64(True):
        pair, variables = make_pair(0, SMALL, num_classes=3)
        layout, a = layouts(pair.config)[net], variables[net]
        b, hidden = disguised(layout, a)
        same = compare(pair, variables, pair, {**variables, net: b}, False, net)[net]
        assert same.largest <= 1e-10, str(same)
        match = match_weights(layout, a, b)
        assert match.before < 0.8 and match.after == pytest.approx(1)
        for group, order in inverse(hidden).items():
            np.testing.assert_array_equal(match.orders[group], order)
        recovered = permute(layout, canonical(layout, b), match.orders)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-10), recovered, canonical(layout, a))


def test_other_families_are_refused():
    old, variables = make_pair(0, SMALL)
    with pytest.raises(PlanError, match="no rules from MLPConfig to ResNetConfig; there are rules within each of"):
        pair_rules(ResNetConfig(), old.config, {}, specs(variables))


def test_operations_by_hand():
    np.testing.assert_allclose(image_matrix(4, 2), [[1, 0], [1, 0], [0, 1], [0, 1]])
    np.testing.assert_allclose(image_matrix(2, 4), [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])
    np.testing.assert_allclose(image_matrix(3, 2), [[1, 0], [0.5, 0.5], [0, 1]])
    np.testing.assert_allclose(
        in_pairs([np.array([[1.0, 2.0]])], None, {"axis": 1, "value": 0.5}), [[0.5, -0.5, 1, -1]]
    )
    with pytest.raises(OpError, match=r"kernel \[3 or more, 6 or more\], not \[3, 5\]"):
        pass_on_shape([], {"shape": (3, 5), "units": 3, "reads": "plain", "writes": "pairs", "value": 1.0})
    with pytest.raises(OpError, match="fold_dense needs what reads a layer"):
        fold_shape([(5, 1), (4, 6)], {"axis": 0, "value": 1.0})
    with pytest.raises(OpError, match="resample needs an axis"):
        resample_shape([(5, 1)], {"axis": 2, "size": 3, "side": "in"})
