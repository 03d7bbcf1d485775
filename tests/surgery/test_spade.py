"""SPADE grows in width and takes up other labels, exactly; what it has no way for is refused; copies are recovered."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.config import SPADEConfig
from gan_jax.nets import Pair
from gan_jax.nets.spade import semantics
from gan_jax.surgery import PlanError, make_plan, pair_rules
from gan_jax.surgery.align import canonical, inverse, match_weights, permute
from gan_jax.surgery.families import layouts
from gan_jax.surgery.families.notes import plan_notes
from gan_jax.surgery.measure import common_latents
from gan_jax.trees import flatten, specs
from tests.surgery.align.copies import disguised
from tests.surgery.pairs import QUICK, grow, make_pair, pair_of

SMALL = SPADEConfig(32, num_labels=3, edges=False, channels=1, width=1, d_width=3, d_layers=2)
LABELS = np.random.default_rng(0).integers(0, 4, (2, 4, 4)).repeat(8, 1).repeat(8, 2)  # 3 = no label
INSTANCE = np.random.default_rng(1).integers(0, 9, (2, 32, 32))
IMAGES = np.random.default_rng(2).uniform(-1, 1, (2, 32, 32, 1))


@functools.cache
def compiled(config: SPADEConfig, train: bool) -> Any:
    pair = pair_of(config)

    def run(variables, maps):
        images = pair.g.apply(variables["g"], maps, train=train)[0]
        return images, pair.d.apply(
            variables["d"], jnp.concatenate([maps, jnp.asarray(IMAGES, maps.dtype)], -1), train=train
        )[0]

    return jax.jit(run, compiler_options=QUICK)


def outputs(pair: Pair, variables: Any, labels: np.ndarray = LABELS, train: bool = False) -> tuple[Any, Any]:
    maps = jax.jit(semantics, static_argnums=0)(pair.config, labels, INSTANCE).astype(pair.config.dtype)
    return compiled(pair.config, train)(variables, maps)


def assert_same(one: Any, other: Any, tolerance: float = 1e-10) -> None:
    for a, b in zip(one, other):
        assert np.asarray(a).std() > 1e-3
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(a).max())


@pytest.mark.parametrize("train", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_width_labels_and_edges_grow_exactly_and_back(train):
    """Label 0 becomes 1, 2 becomes 0, and a new one starts from 1; edges are unread at first."""
    with jax.enable_x64(True):
        old, variables = make_pair(0, SMALL)
        changes = {"width": 2, "d_width": 4, "num_labels": 4, "edges": True, "resolution": 64}
        new, fresh = make_pair(1, SMALL, **changes)
        grown = grow(old, variables, new, fresh, {"classes": (2, 0, 1, 1)})
        moved = np.asarray([1, 2, 0, 4])[LABELS]  # what each old label is called now
        before = outputs(old, variables, train=train)
        assert_same(before, outputs(new, grown, moved, train))
        renamed = np.where(moved == 2, 3, moved)  # the new label, which started from the same
        assert_same(before, outputs(new, grown, renamed, train))
        v = np.asarray(grown["g"]["spectral"]["up0"]["conv0"]["v"]).reshape(3, 3, -1)
        assert np.abs(v[:, :, :16]).min() > 0 and not v[:, :, 16:].any()
        back = grow(new, grown, old, make_pair(2, SMALL)[1], {"classes": (1, 2, 0)})
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), back, variables)


def test_new_labels_from_several_and_places_without_one():
    """By hand, in the first kernel of each network; D's image channels stay behind the labels."""
    old, variables = make_pair(0, SMALL, dont_care=False)
    new, fresh = make_pair(1, SMALL, num_labels=4, edges=True)
    grown = grow(old, variables, new, fresh, {"classes": (0, -1, [1, 2], [0.25, 0.75, 0.0])})
    for net, path in (("g", ("stem",)), ("g", ("up1", "norm_skip", "shared")), ("d", ("scale1_layer0", "conv"))):
        a, b = (functools.reduce(dict.__getitem__, path, tree[net]["params"])["kernel"] for tree in (variables, grown))
        mean = a[:, :, :3].mean(2)
        wanted = [a[:, :, 0], mean, a[:, :, 1:3].mean(2), 0.25 * a[:, :, 0] + 0.75 * a[:, :, 1], mean, 0 * mean]
        wanted += [a[:, :, 3]] if net == "d" else []
        np.testing.assert_allclose(b, np.stack(wanted, 2), rtol=1e-5, atol=1e-6)


def test_what_a_plan_says_of_the_function():
    spec = lambda config: specs(make_pair(0, config)[1])
    wide = dataclasses.replace(SMALL, width=2, d_width=4, edges=True)
    for new, classes, words in (
        (wide, None, "function preserved"),
        (dataclasses.replace(SMALL, num_labels=4), (0, 1, 2, -1), "classes mixed of several"),
    ):
        rules = pair_rules(new, SMALL, spec(new), spec(SMALL), classes=classes)
        plan = make_plan(spec(new), spec(SMALL), rules, shape="adapt")
        notes = plan_notes(plan)
        assert len(notes) == 2 and all(words in note for note in notes), notes


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"ups": "more"}, {}, "net.ups goes from normal to more, which SPADEConfig has no way for"),
        ({"norm": "instance"}, {}, "net.norm goes from batch to instance"),
        ({"channels": 3}, {}, "net.channels goes from 1 to 3"),
        ({"d_scales": 3}, {}, "net.d_scales goes from 2 to 3"),
        ({"num_labels": 5}, {}, "3 source labels, 5 target labels: say which"),
        ({"num_labels": 5}, {"classes": (0, 1)}, "classes names 2 source labels for 5 target labels"),
        ({}, {"classes": (0, 1, 3)}, "3 is no start for a label: use 0 to 2"),
        ({}, {"classes": (0, 1, [0.5, 0.4, 0.0])}, "need 3 numbers of sum 1"),
        ({"width": 2}, {"width": "net2wider"}, "divided by its largest singular value"),
    ],
)
def test_what_has_no_way_is_refused(changes, options, message):
    new = dataclasses.replace(SMALL, **changes)
    trees = [specs(make_pair(0, config)[1]) for config in (new, SMALL)]
    with pytest.raises(PlanError, match=message):
        pair_rules(new, SMALL, *trees, **options)


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_the_layout_names_every_leaf(norm):
    pair, variables = make_pair(0, SMALL, norm=norm)
    for net, layout in layouts(pair.config).items():
        leaves = flatten(variables[net])
        assert leaves.keys() == layout.text.keys()
        layout.sizes({path: leaf.shape for path, leaf in leaves.items()})


def test_a_disguised_copy_is_recovered():
    with jax.enable_x64(True):
        pair, variables = make_pair(0, SMALL)
        copies, hidden = {}, {}
        for net, layout in layouts(pair.config).items():
            copies[net], hidden[net] = disguised(layout, variables[net])
        assert_same(outputs(pair, variables), outputs(pair, copies))
        for net, layout in layouts(pair.config).items():
            match = match_weights(layout, variables[net], copies[net])
            for group, order in inverse(hidden[net]).items():
                np.testing.assert_array_equal(match.orders[group], order, err_msg=group)
            recovered = permute(layout, canonical(layout, copies[net]), match.orders)
            wanted = canonical(layout, variables[net])
            jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-10), recovered, wanted)


def test_probes_are_labels_that_both_networks_have():
    """Squares of labels, at the places that each network has for them; no edges, no places without a label."""
    config = dataclasses.replace(SMALL, num_labels=5, edges=True)
    new, old = common_latents(config, SMALL, jax.random.key(0), 4)
    assert (new.shape, old.shape) == ((4, 32, 32, 7), (4, 32, 32, 4))
    np.testing.assert_array_equal(new[..., :3], old[..., :3])
    assert (old[..., :3].sum(-1) == 1).all() and not new[..., 3:].any() and not old[..., 3:].any()
    assert set(np.asarray(old[..., :3].argmax(-1)).ravel()) == {0, 1, 2}
