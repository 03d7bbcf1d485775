"""Plans between BigGAN pairs: what their notes say, what is refused, and how single leaves are moved. Nothing is compiled."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from gan_jax.surgery import PlanError, make_plan, pair_rules
from gan_jax.surgery.families import layouts
from gan_jax.surgery.families.fit_biggan import _rows, grey_weights
from gan_jax.surgery.families.notes import plan_notes
from gan_jax.surgery.ops import run_steps
from gan_jax.trees import flatten
from tests.surgery.pairs import SMALL_BIGGAN, shapes
from tests.surgery.test_biggan import CONDITIONAL, HIGHER, VARIANTS, WIDER


@pytest.mark.parametrize("name", VARIANTS)
def test_every_leaf_is_named_and_groups_agree(name):
    config = dataclasses.replace(SMALL_BIGGAN, **VARIANTS[name])
    for net, layout in layouts(config).items():
        found = {path: tuple(leaf.shape) for path, leaf in flatten(shapes(config)[net]).items()}
        assert set(layout.text) == set(found)
        assert layout.sizes(found)
        kernels = {path for path in found if path.endswith("kernel")}
        assert set(layout.spectral) == (kernels if net == "d" or config.g_spectral else set())


def plan_of(before: dict[str, Any], after: dict[str, Any], options: dict[str, Any] | None = None):
    was, config = (dataclasses.replace(SMALL_BIGGAN, **changes) for changes in (before, after))
    target, source = shapes(config), shapes(was)
    rules = pair_rules(config, was, target, source, **(options or {}))
    return make_plan(target, source, rules, shape="adapt", unused="drop")


KEPT = "function preserved"


@pytest.mark.parametrize(
    ("before", "after", "options", "g", "d"),
    [
        ({}, {**WIDER, "z_dim": 12, "attention": (8, 16)}, {}, KEPT, KEPT),
        ({}, {"channels": 3}, {}, KEPT, KEPT + ", on images that the old colours can show"),
        ({}, CONDITIONAL, {}, KEPT, KEPT),
        ({}, {"num_classes": 2}, {}, KEPT, "not preserved: fresh values (d/params/embed/kernel)"),
        ({"num_classes": 2}, CONDITIONAL, {"classes": (1, 0, 0)}, KEPT + ", for each class", KEPT + ", for each class"),
        (
            {"num_classes": 2},
            {"num_classes": 3},
            {"classes": (1, 0, 0)},
            KEPT,
            "not preserved: D's class term is divided",
        ),
        ({"num_classes": 2}, {"num_classes": 2}, {"classes": (1, 0)}, KEPT, KEPT),
        (CONDITIONAL, {}, {}, "not preserved: channels or latents dropped", "not preserved: source leaves dropped"),
        (
            {},
            HIGHER,
            {},
            "not preserved: a 3x3 to_rgb reads doubled",
            "not preserved: a ring of one pixel at the border",
        ),
        ({}, {**HIGHER, "d_multipliers": (1, 2, 4, 4)}, {}, "not preserved", "not preserved: a ring of one pixel"),
        ({}, {"attention": ()}, {}, "not preserved: source leaves dropped", "not preserved: source leaves dropped"),
    ],
    ids=lambda x: str(x)[:40],
)
def test_notes(before, after, options, g, d):
    notes = {note[0]: note[3:] for note in plan_notes(plan_of(before, after, options))}
    assert notes["g"].startswith(g) and notes["d"].startswith(d), notes


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (VARIANTS["plain"], {"hierarchical": False, **CONDITIONAL, "attention": (), "g_spectral": False},
         "gain and bias from values for all in the source and from layers in the target, and neither becomes"),
        (VARIANTS["tables"], {**CONDITIONAL, "hierarchical": False, "attention": ()}, "from tables in the source and from l"),
        ({}, {"g_spectral": False}, "G has spectral norm on one side only; set net.g_spectral as the source has it"),
        ({}, {"d_size": 8, "d_multipliers": (2, 3)},
         "D's last maps are of another size: its blocks end with 'b4' in the source and 'b8' in the target; give both one"),
        ({"num_classes": 2}, {"num_classes": 3}, "2 source classes, 3 target classes: say which"),
    ],
    ids=lambda x: str(x)[:40],
)  # fmt: skip
def test_what_cannot_become_another_is_refused(before, after, message):
    with pytest.raises(PlanError, match=message):
        plan_of(before, after)
    with pytest.raises(PlanError, match="width='net2wider' would copy channels of ./params.* largest singular value"):
        plan_of({}, WIDER, {"width": "net2wider"})


@pytest.mark.parametrize(
    ("old", "new"), [([2, 3], [2, 5]), ([2, 3], [4, 3]), ([0, 3], [2, 4]), ([2, 3], [3, 1]), ([4, 2], [1, 2])]
)
def test_rows_of_two_things_side_by_side(old, new):
    """Each keeps its first rows; new ones are zero."""
    rows = [np.arange(1, n + 1) + 10 * (i + 1) for i, n in enumerate(old)]
    expected = [np.concatenate([part[:n], np.zeros(max(n - len(part), 0))]) for part, n in zip(rows, new)]
    x = np.concatenate(rows)[:, None]
    np.testing.assert_array_equal(run_steps(_rows(old, new, 1), [x], None)[:, 0], np.concatenate(expected))


def test_grey_is_read_with_its_strength():
    for channels in (2, 3, 4, 5):
        weights = np.ravel(grey_weights(channels))
        assert len(weights) == channels
        np.testing.assert_allclose([weights.sum(), np.square(weights).sum()], 1)
