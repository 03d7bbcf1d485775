"""Plans between BigGAN pairs: what their notes say, what is refused, and how single leaves are moved. Nothing is compiled."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from gan_jax.surgery import PlanError, make_plan, pair_rules
from gan_jax.surgery.families import layouts
from gan_jax.surgery.families.cross import roles_of
from gan_jax.surgery.families.fit import _rows, grey_weights
from gan_jax.surgery.families.notes import plan_notes
from gan_jax.surgery.ops import run_steps
from gan_jax.trees import flatten
from tests.surgery.pairs import (
    BASE,
    SMALL_BIGGAN,
    SMALL_DCGAN,
    SMALL_R3GAN,
    SMALL_STYLEGAN2,
    grow,
    make_pair,
    shapes,
)
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


ACROSS = [BASE, SMALL_DCGAN, SMALL_STYLEGAN2, SMALL_R3GAN]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_role_is_a_leaf(name):
    config = dataclasses.replace(SMALL_BIGGAN, **VARIANTS[name])
    for net, roles in roles_of(config).items():
        leaves = flatten(shapes(config)[net])
        assert {path for part in roles.values() for path in (*part.reads, *part.fills)} <= leaves.keys()


@pytest.mark.parametrize("other", ACROSS, ids=lambda config: type(config).__name__)
def test_between_families_layers_are_moved_by_their_role(other):
    for new, old in ((SMALL_BIGGAN, other), (other, SMALL_BIGGAN)):
        target, source = shapes(new), shapes(old)
        rules = pair_rules(new, old, target, source)
        plan = make_plan(target, source, rules, shape="adapt", missing="init", unused="drop")
        moved = {entry.target for entry in plan.entries if entry.sources}
        assert len([path for path in moved if path.startswith("g/params")]) >= 3, moved
        assert len([path for path in moved if path.startswith("d/params")]) >= 3, moved


def test_kernels_come_with_their_singular_vectors_and_leave_divided():
    """A stem of more channels too, whose vector has a place for each position and channel."""
    old, old_variables = make_pair(0)
    new, fresh = make_pair(1, SMALL_BIGGAN, g_multipliers=(4, 3, 2))
    grown = grow(old, old_variables, new, fresh, missing="init", unused="drop")
    made = grown["g"]
    for name in ("stem", "b8/conv0", "b16/skip"):
        kernel, u = flatten(made)[f"params/{name}/kernel"], flatten(made)[f"spectral/{name}/u"]
        matrix = np.asarray(kernel).reshape(-1, kernel.shape[-1])
        np.testing.assert_allclose(np.linalg.norm(matrix @ np.asarray(u)), np.linalg.norm(matrix, 2), rtol=1e-4)
    back = grow(new, grown, old, make_pair(2)[1], missing="init", unused="drop")["g"]["params"]["b8"]["conv1"]["kernel"]
    kernel = np.asarray(made["params"]["b8"]["conv1"]["kernel"])
    np.testing.assert_allclose(back, kernel / np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), 2), rtol=1e-4)


def test_grey_is_read_with_its_strength():
    for channels in (2, 3, 4, 5):
        weights = np.ravel(grey_weights(channels))
        assert len(weights) == channels
        np.testing.assert_allclose([weights.sum(), np.square(weights).sum()], 1)
