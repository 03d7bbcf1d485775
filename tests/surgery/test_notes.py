"""The notes of a plan agree with what is measured; plans are made of shapes, so these tests compile nothing."""

from __future__ import annotations

import dataclasses

import pytest

from gan_jax.surgery import make_plan, pair_rules
from gan_jax.surgery.families.notes import plan_notes, with_notes
from tests.surgery.pairs import BASE, SMALL_DCGAN, pair_of, shapes

KEPT = ("g: function preserved", "d: function preserved")
CASES = [
    (BASE, {}, {"channel_max": 9, "resolution": 32, "z_dim": 10, "depth": 2, "kernel": 5}, {}, *KEPT),
    (BASE, {}, {"num_classes": 3}, {}, *KEPT),
    (BASE, {}, {"channels": 3}, {}, KEPT[0], KEPT[1] + ", on images that the old colours can show"),
    (
        BASE,
        {"num_classes": 3},
        {"num_classes": 4},
        {"classes": (0, 1, 2, 2)},
        KEPT[0] + ", for each class",
        KEPT[1] + ",",
    ),
    (
        BASE,
        {"num_classes": 3},
        {"num_classes": 2},
        {"classes": (0, [1, 2])},
        "g: not preserved: classes mixed",
        "d: not",
    ),
    (
        BASE,
        {},
        {"channel_max": 4},
        {},
        "g: not preserved: channels or latents dropped (g/",
        "d: not preserved: channels",
    ),
    (
        BASE,
        {},
        {"channel_max": 4},
        {"narrow": "strongest"},
        "g: not preserved: only the most important",
        "d: not preserved",
    ),
    (BASE, {"kernel": 5}, {}, {}, "g: not preserved: smaller kernels (g/params/b16/conv0/kernel and 3 more)", "d: not"),
    (BASE, {"depth": 2}, {}, {}, "g: not preserved: source leaves dropped, exact where they did nothing", "d: not"),
    (
        BASE,
        {"channels": 3},
        {"channels": 1},
        {},
        "g: not preserved: fewer image channels",
        "d: not preserved: fewer image",
    ),
    (BASE, {}, {"resolution": 32, "channel_base": 64}, {}, "g: not preserved: channels or latents", "d: not preserved"),
    (SMALL_DCGAN, {}, {"channel_max": 9}, {"width": "net2wider"}, *KEPT),
    (
        SMALL_DCGAN,
        {},
        {"resolution": 64},
        {},
        "g: function preserved, in evaluation mode (",
        KEPT[1] + ", in evaluation mode (",
    ),
    (
        SMALL_DCGAN,
        {"resolution": 32},
        {},
        {},
        "g: not preserved: layers folded into a head",
        "d: not preserved: layers",
    ),
]


@pytest.mark.parametrize(("base", "before", "after", "options", "g", "d"), CASES, ids=lambda x: str(x)[:40])
def test_notes(base, before, after, options, g, d):
    old, new = (dataclasses.replace(base, **changes) for changes in (before, after))
    rules = pair_rules(pair_of(new).config, old, shapes(new), shapes(old), **options)
    plan = with_notes(make_plan(shapes(new), shapes(old), rules, shape="adapt", unused="drop", notes=["mine"]))
    notes = {note[0]: note for note in plan.notes}
    assert notes["g"].startswith(g) and (g not in KEPT or notes["g"] == g) and notes["d"].startswith(d), plan.notes
    assert plan.notes == (*plan_notes(plan), "mine") and all(note in str(plan) for note in plan.notes)


def test_a_fresh_leaf_is_a_reason():
    rules = pair_rules(BASE, BASE, shapes(BASE), shapes(BASE))
    source = {"g": shapes(BASE)["g"], "d": {**shapes(BASE)["d"], "params": {**shapes(BASE)["d"]["params"], "head": {}}}}
    plan = make_plan(shapes(BASE), source, rules, missing="init", unused="drop")
    assert plan_notes(plan)[
        0
    ] == "d: not preserved: fresh values (d/params/head/bias and 1 more); source leaves dropped, " + (
        "exact where they did nothing (d/spectral/head/u)"
    )
