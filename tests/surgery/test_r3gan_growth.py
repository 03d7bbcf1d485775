"""R3GAN grows without being heard, by silent channels or by copies, and comes back; broken recipes are seen."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.surgery import Move, PlanError, make_plan, pair_rules
from gan_jax.surgery.families import layouts
from gan_jax.surgery.families.notes import plan_notes
from gan_jax.surgery.ops.arrays import OpError
from gan_jax.surgery.ops.heads import linear_shape
from gan_jax.trees import Rule, flatten
from tests.surgery.pairs import QUICK, SMALL_R3GAN, compare, compiled, grow, latents, make_pair, shapes
from tests.surgery.test_growth import exact
from tests.surgery.test_layout import permute

EVALUATED = (False,)  # nothing here is another function in training
GROWTHS: dict[str, dict[str, Any]] = {
    "more or larger groups, deeper, more latents": {
        **{"widths": (9, 9, 6), "cardinality": (3, 3, 3), "blocks": (2, 1, 3), "expansion": 4, "z_dim": 11}
    },
    "wider and narrower above, in colour": {
        **{"widths": (9, 6, 8, 7, 5), "blocks": (1, 1, 1, 0), "resolution": 64, "channels": 3}
    },
    "all as wide as the old image": {"resolution": 32},
}


@pytest.mark.parametrize("growth", GROWTHS)
def test_growth_preserves_both_networks_and_the_way_back_too(growth):
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, SMALL_R3GAN)
        new, fresh = make_pair(1, SMALL_R3GAN, **GROWTHS[growth])
        grown = grow(old, old_variables, new, fresh)
        exact(old, old_variables, new, grown, EVALUATED)
        strangers = compare(old, old_variables, new, fresh, False)
        assert min(strangers["g"].relative, strangers["d"].relative) > 0.05
        back = grow(new, grown, old, make_pair(2, SMALL_R3GAN)[1], unused="drop")
        exact(old, old_variables, old, back, EVALUATED)


BROKEN = {  # leaf -> a move that keeps something wrong
    "g/params/b8/res1/conv2/kernel": Move("init"),  # a block that is heard
    "g/params/b4/res0/conv2/kernel": Move(
        "fit", args={"view": [[1, 1, 3, 4, 6], [1, 1, 4, 4, 8]]}
    ),  # so are new groups
    "g/params/b32/transition/kernel": Move("init"),
    "d/params/b8/res0/conv0/kernel": Move("fit", args={"view": [[1, 1, 6, 3, 4], [1, 1, 8, 4, 4]]}),
    "d/params/b32/transition/kernel": Move("init"),
    "d/params/from_rgb/kernel": Move("init"),
}


def test_each_recipe_counts():
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, SMALL_R3GAN)
        changes = {"widths": (8, 8, 6, 5), "cardinality": (4, 4, 3, 2), "resolution": 32, "blocks": (1, 2)}
        new, fresh = make_pair(1, SMALL_R3GAN, **changes)
        exact(old, old_variables, new, grow(old, old_variables, new, fresh), EVALUATED)
        for leaf, move in BROKEN.items():
            broken = grow(old, old_variables, new, fresh, {"first": [Rule(leaf, move)]}, unused="drop")
            assert compare(old, old_variables, new, broken, False, leaf[0])[leaf[0]].largest > 1e-3, leaf


def test_copies_preserve_both_networks():
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, SMALL_R3GAN, num_classes=3)
        changes = {"widths": (9, 8, 6, 5), "cardinality": (3, 4, 3, 2), "resolution": 32, "z_dim": 10}
        new, fresh = make_pair(1, SMALL_R3GAN, num_classes=3, **changes)
        grown = grow(old, old_variables, new, fresh, {"width": "net2wider", "seed": 3})
        exact(old, old_variables, new, grown, EVALUATED)
        basis = np.asarray(grown["d"]["params"]["head"]["basis"])
        assert all(any(np.array_equal(basis[..., j], basis[..., i]) for i in range(6)) for j in (6, 7, 8)), "copies"


def test_the_most_important_channels_are_the_old_ones_wherever_they_lie():
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, SMALL_R3GAN)
        new, fresh = make_pair(1, SMALL_R3GAN, widths=(9, 9, 6), cardinality=(3, 3, 3))  # larger groups, more groups
        grown, layout = grow(old, old_variables, new, fresh), layouts(new.config)
        mixed = {name: permute(layout[name], grown[name], 7) for name in ("g", "d")}
        fresh = make_pair(2, SMALL_R3GAN)[1]
        exact(old, old_variables, old, grow(new, mixed, old, fresh, {"narrow": "strongest"}), EVALUATED)
        worse = compare(old, old_variables, old, grow(new, mixed, old, fresh), False)
        assert worse["g"].largest > 1e-3 and worse["d"].largest > 1e-3, "the leading channels are others now"


def judged(pair, variables, net: str, x: jax.Array, labels: jax.Array) -> jax.Array:
    return jax.jit(lambda v: getattr(pair, net).apply(v, x, labels)[0], compiler_options=QUICK)(variables[net])


def test_labels_are_not_heard_at_first_then_chosen_then_averaged():
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, SMALL_R3GAN)
        middle, fresh = make_pair(1, SMALL_R3GAN, num_classes=3, z_dim=9)
        grown = grow(old, old_variables, middle, fresh)
        exact(old, old_variables, middle, grown, EVALUATED)
        images = jax.random.uniform(jax.random.key(1), (4, 16, 16, 1), jnp.float64, minval=-1.0)
        slope = jax.grad(lambda p: middle.d.apply({"params": p}, images, jnp.arange(4) % 3)[0].sum())
        slopes = jax.jit(slope, compiler_options=QUICK)(grown["d"]["params"])
        assert np.abs(slopes["embed"]["embedding"]).max() > 1e-2, "the table learns at once"
        chosen = (2, 0, 2, 1)
        new, more = make_pair(2, SMALL_R3GAN, num_classes=4, widths=(8, 8, 6), cardinality=(4, 4, 3), z_dim=12)
        grown = grow(middle, fresh, new, more, {"classes": chosen})
        labels, z = jnp.array([0, 1, 2, 3]), latents(new, 4)
        for net, x, y in (("g", z[:, :9], z), ("d", images, images)):
            before = judged(middle, fresh, net, x, jnp.array(chosen)[labels])
            np.testing.assert_allclose(judged(new, grown, net, y, labels), before, atol=1e-10)
        mixed = grow(
            middle, fresh, middle, make_pair(3, SMALL_R3GAN, num_classes=3, z_dim=9)[1], {"classes": (-1, 0, 1)}
        )
        table = np.asarray(fresh["g"]["params"]["embed"]["embedding"])
        np.testing.assert_allclose(mixed["g"]["params"]["embed"]["embedding"][0], table.mean(0), rtol=1e-12)
        without = grow(middle, fresh, old, make_pair(4, SMALL_R3GAN)[1], unused="drop")
        every = [judged(middle, fresh, "d", images, jnp.full((4,), label)) for label in range(3)]
        np.testing.assert_allclose(
            compiled(old.config, "d", False)(without["d"], images)[0], np.mean(every, axis=0), atol=1e-10
        )


def plan_of(before: dict[str, Any], after: dict[str, Any], options: dict[str, Any] | None = None):
    was, config = (dataclasses.replace(SMALL_R3GAN, **changes) for changes in (before, after))
    target, source = shapes(config), shapes(was)
    return make_plan(
        target, source, pair_rules(config, was, target, source, **(options or {})), shape="adapt", unused="drop"
    )


KEPT = "function preserved"
FOLDED = "not preserved: layers folded into a head, exact where growth made them"


@pytest.mark.parametrize(
    ("before", "after", "g", "d"),
    [
        ({}, {"resolution": 64, "num_classes": 2, "widths": (8, 8, 6, 5), "cardinality": (4, 4, 3, 2)}, KEPT, KEPT),
        ({}, {"z_dim": 9, "blocks": (3,), "expansion": 3}, KEPT, KEPT),
        ({}, {"channels": 3}, KEPT, KEPT + ", on images that the old colours can show"),
        ({"num_classes": 2}, {}, "not preserved: channels or latents dropped", "not preserved: the mean of 2 classes"),
        (
            {"blocks": (2,)},
            {},
            "not preserved: source leaves dropped, exact",
            "not preserved: source leaves dropped, exact",
        ),
        ({"resolution": 32, "widths": (6, 6, 4, 6)}, {}, FOLDED, FOLDED),
        ({}, {"widths": (4,), "cardinality": (2,)}, "not preserved: channels or", "not preserved: channels or latents"),
    ],
    ids=lambda x: str(x)[:40],
)
def test_notes(before, after, g, d):
    notes = {note[0]: note[3:] for note in plan_notes(plan_of(before, after))}
    assert notes["g"].startswith(g) and notes["d"].startswith(d), notes
    assert "not" in g or notes["g"] == g


STRONGEST = {"narrow": "strongest"}


@pytest.mark.parametrize(
    ("before", "after", "options", "message"),
    [
        (
            {},
            {"cardinality": (6, 6, 4)},
            {},
            r"d/params/b16/res0/conv1/kernel had 2 groups of 4 .* neither cut nor joined",
        ),
        ({}, {"cardinality": (1,)}, {}, "and would have 1 of 8; groups are neither cut nor joined"),
        (
            {"channels": 3},
            {"channels": 3, "resolution": 64, "widths": (6, 6, 4, 6, 2), "cardinality": (3, 3, 2, 3, 2)},
            {},
            "d: the 3 channels of an image pass through the transitions above 16 px, and 64 px is 2 wide; make it wider",
        ),
        ({}, {"widths": (6, 3, 4)}, STRONGEST, "transition/kernel is new, and narrow='strongest'"),
        (
            {"num_classes": 2},
            {"widths": (4, 4, 4), "cardinality": (2,)},
            STRONGEST,
            "leave the labels away, in two plans",
        ),
        ({}, {"widths": (4,), "cardinality": (2,), "resolution": 32}, STRONGEST, "then change the resolution, in two"),
    ],
    ids=lambda x: str(x)[:30],
)
def test_what_cannot_be_done_is_refused(before, after, options, message):
    with pytest.raises(PlanError, match=message):
        plan_of(before, after, options)


def test_only_what_follows_each_other_is_folded():
    with pytest.raises(OpError, match=r"fold_linear wants kernels .* not \[\(1, 1, 3, 4\), \(1, 1, 5, 2\)\]"):
        linear_shape([(1, 1, 3, 4), (1, 1, 5, 2)], {})
    with pytest.raises(OpError, match="fold_linear wants kernels"):
        linear_shape([(3, 3, 3, 4), (1, 1, 4, 2)], {})


def test_moments_and_averages_follow():
    """Groups that are kept are kept in every copy of a network."""
    old, old_variables = make_pair(0, SMALL_R3GAN)
    new, fresh = make_pair(1, SMALL_R3GAN, widths=(4, 4, 4), cardinality=(2,))
    plan = plan_of({}, {"widths": (4, 4, 4), "cardinality": (2,)}, STRONGEST)
    entry = {e.target: e for e in plan.entries}["g/params/b8/res0/conv1/kernel"]
    assert entry.op == "important" and flatten(fresh["g"])["params/b8/res0/conv1/kernel"].shape == entry.target_shape
    grown = grow(old, old_variables, new, fresh, STRONGEST)
    bias = np.asarray(old_variables["g"]["params"]["b8"]["res0"]["conv0"]["bias"]).reshape(3, 4)
    kept = np.asarray(grown["g"]["params"]["b8"]["res0"]["conv0"]["bias"]).reshape(2, 4)
    assert all(any(np.array_equal(row, whole) for whole in bias) for row in kept), "whole groups"
