"""What R3GAN's plans do with labels, what they say and what they refuse."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.surgery import PlanError, make_plan, pair_rules, transplant_state
from gan_jax.surgery.families.notes import plan_notes
from gan_jax.surgery.ops.basic import OpError
from gan_jax.surgery.ops.dense import linear_shape
from tests.surgery.pairs import QUICK, SMALL_R3GAN, compiled, grow, latents, make_pair, pair_of, shapes
from tests.surgery.test_growth import exact

EVALUATED = (False,)  # nothing here is another function in training


@functools.cache
def labelled(config: Any, net: str) -> Callable[..., jax.Array]:
    apply = getattr(pair_of(config), net).apply
    return jax.jit(lambda variables, x, labels: apply(variables, x, labels)[0], compiler_options=QUICK)


@pytest.mark.slow  # the same of ResNet and of StyleGAN2, in their files
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
            before = labelled(middle.config, net)(fresh[net], x, jnp.array(chosen)[labels])
            np.testing.assert_allclose(labelled(new.config, net)(grown[net], y, labels), before, atol=1e-10)
        mixed = grow(
            middle, fresh, middle, make_pair(3, SMALL_R3GAN, num_classes=3, z_dim=9)[1], {"classes": (-1, 0, 1)}
        )
        table = np.asarray(fresh["g"]["params"]["embed"]["embedding"])
        np.testing.assert_allclose(mixed["g"]["params"]["embed"]["embedding"][0], table.mean(0), rtol=1e-12)
        without = grow(middle, fresh, old, make_pair(4, SMALL_R3GAN)[1], unused="drop")
        every = [labelled(middle.config, "d")(fresh["d"], images, jnp.full((4,), label)) for label in range(3)]
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
    with pytest.raises(OpError, match=r"fold_linear needs kernels .* not \[\(1, 1, 3, 4\), \(1, 1, 5, 2\)\]"):
        linear_shape([(1, 1, 3, 4), (1, 1, 5, 2)], {})
    with pytest.raises(OpError, match="fold_linear needs kernels"):
        linear_shape([(3, 3, 3, 4), (1, 1, 4, 2)], {})


def test_whole_groups_are_kept_in_every_copy_of_a_network():
    old, variables = make_pair(0, SMALL_R3GAN)
    new, fresh = make_pair(1, SMALL_R3GAN, widths=(4, 4, 4), cardinality=(2,))
    twice = lambda tree: jax.tree.map(lambda x: 2 * x, tree)
    source = {**variables, "g_ema": twice(variables["g"]), "opt_g": {"mu": twice(variables["g"]["params"])}}
    target = {**fresh, "g_ema": fresh["g"], "opt_g": {"mu": fresh["g"]["params"]}}
    rules = pair_rules(new.config, old.config, fresh, variables, **STRONGEST)
    made, _, plan = transplant_state(make_plan(fresh, variables, rules, shape="adapt"), source, target)
    assert {e.target: e.op for e in plan.entries}["g/params/b8/res0/conv1/kernel"] == "important"
    bias = lambda tree: np.asarray(tree["b8"]["res0"]["conv0"]["bias"])
    whole, kept = bias(variables["g"]["params"]).reshape(3, 4), bias(made["g"]["params"]).reshape(2, 4)
    assert all(any(np.array_equal(row, group) for group in whole) for row in kept)
    for copy in (made["g_ema"]["params"], made["opt_g"]["mu"]):
        np.testing.assert_array_equal(bias(copy), 2 * bias(made["g"]["params"]))
