"""Networks from images to images grow exactly where their docstrings say so, and align as their layouts say."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.config import TranslatorConfig, UNetConfig
from gan_jax.surgery import PlanError, make_plan, measure, pair_rules
from gan_jax.surgery.align import permute
from gan_jax.surgery.families import layouts
from gan_jax.surgery.families.notes import plan_notes
from gan_jax.surgery.measure import common_latents, common_views, shown
from gan_jax.trees import flatten, specs
from tests.surgery.align.copies import disguised, random_orders
from tests.surgery.pairs import compiled, grow, make_pair, shapes

UNET = UNetConfig(16, 1, 1, width=2, depth=3, d_width=2, d_layers=1, dropout=False)
RESNET = TranslatorConfig(8, 1, 1, width=2, blocks=1, affine=True, d_width=2, d_layers=1, d_condition=True)
PLAIN = {"affine": False, "d_condition": False}
WIDER = {"width": 3, "d_width": 3}


def name(value: Any) -> str:
    return type(value).__name__ if isinstance(value, (UNetConfig, TranslatorConfig)) else str(value)


def differences(old, old_variables, new, new_variables, train, nets="gd"):
    """Of both networks: on images that go in and on noise."""
    config, was = new.config, old.config
    new_x, old_x = common_latents(config, was, jax.random.key(1), 3)
    view_old, view_new, probe_old, probe_new = common_views(config, was)
    run = lambda pair, name, v, x: compiled(pair.config, name, train)(v[name], x)[0]
    images = run(old, "g", old_variables, old_x)
    noise = jax.random.uniform(jax.random.key(5), images.shape, images.dtype, minval=-1.0)
    seen = lambda x: run(old, "d", old_variables, shown(was, old_x, probe_old(x)))
    measures = {
        "g": lambda: measure(lambda _: view_old(images), lambda _: view_new(run(new, "g", new_variables, new_x)), [0]),
        "d": lambda: measure(
            seen, lambda x: run(new, "d", new_variables, shown(config, new_x, probe_new(x))), [images, noise]
        ),
    }
    return {name: measures[name]() for name in nets}


def exact(*args, modes=(False, True), nets="gd"):
    for train in modes:
        for name, difference in differences(*args, train, nets).items():
            assert difference.scale > 0.05, "the probes excite the net"
            assert difference.relative <= 1e-10, (name, train, str(difference))


@pytest.mark.parametrize(
    ("base", "was", "changes", "modes"),
    [
        (UNET, {}, WIDER, (False, True)),
        (UNET, {"norm": "instance"}, WIDER, (True,)),
        (UNET, {}, {"depth": 4}, (False,)),
        (UNET, {"d_condition": False}, {"d_condition": True, "in_channels": 3, "channels": 3}, (False,)),
        (RESNET, {}, WIDER, (False,)),
        (RESNET, PLAIN, {**PLAIN, "blocks": 3}, (False,)),
        (RESNET, {"norm": "batch"}, {**WIDER, "norm": "batch", "blocks": 2}, (False, True)),
        (RESNET, {}, {"blocks": 2, "in_channels": 4}, (False,)),
        (RESNET, PLAIN, {"affine": True, "d_condition": True}, (False,)),
        (RESNET, {"antialias": True}, {**WIDER, "antialias": True}, (False,)),
    ],
    ids=name,
)
def test_growth_is_exact_and_so_is_the_way_back(base, was, changes, modes):
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, base, **was)
        new, fresh = make_pair(1, base, **{**was, **changes})
        grown = grow(old, old_variables, new, fresh)
        rules = pair_rules(new.config, old.config, specs(fresh), specs(old_variables))
        notes = plan_notes(make_plan(specs(fresh), specs(old_variables), rules, shape="adapt"))
        assert all("function preserved" in note for note in notes)
        assert any("in evaluation mode" in note for note in notes) == ("depth" in changes)
        exact(old, old_variables, new, grown, modes=modes)
        if changes.keys() <= {"width", "d_width", "depth", "blocks", "norm", "antialias", "affine"} - (
            {"affine"} if "d_condition" in changes else set()
        ):
            back = grow(new, grown, old, make_pair(2, base, **was)[1], unused="drop")
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), back, old_variables)


def test_copies_are_exact_too():
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, RESNET)
        new, fresh = make_pair(1, RESNET, **WIDER)
        exact(old, old_variables, new, grow(old, old_variables, new, fresh, {"width": "net2wider"}), modes=(False,))


def test_a_deeper_unet_with_instance_norm_is_said_to_be_another_function():
    old, old_variables = make_pair(0, UNET, norm="instance")
    new, fresh = make_pair(1, UNET, norm="instance", depth=4)
    rules = pair_rules(new.config, old.config, specs(fresh), specs(old_variables))
    plan = make_plan(specs(fresh), specs(old_variables), rules, shape="adapt")
    notes = plan_notes(plan)
    assert [note for note in notes if note.startswith("g: not preserved: another norm before it (g/params/up3/skip")]
    grown = grow(old, old_variables, new, fresh)
    assert differences(old, old_variables, new, grown, False, "g")["g"].relative > 1e-3


@pytest.mark.parametrize(
    ("base", "changes", "message"),
    [
        (RESNET, {"antialias": True}, "net.antialias goes from False to True, by which kernels read other sizes"),
        (UNET, {"d_layers": 2}, "net.d_layers goes from 1 to 2"),
        (UNET, {"d_kind": "pixel"}, "net.d_kind goes from patch to pixel"),
    ],
    ids=name,
)
def test_what_has_no_counterpart_is_refused(base, changes, message):
    old, new = make_pair(0, base)[0], make_pair(1, base, **changes)[0]
    with pytest.raises(PlanError, match=message):
        pair_rules(new.config, old.config, shapes(new.config), shapes(old.config))


CONFIGS: list[tuple[Any, dict[str, Any]]] = [
    (UNET, {}),
    (UNET, {"norm": "instance", "d_norm": "batch", "affine": True}),
    (UNET, {"norm": "none", "d_condition": False, "d_kind": "pixel"}),
    (RESNET, {}),
    (RESNET, {"norm": "batch", "blocks": 2}),
    (RESNET, {"norm": "none", "blocks": 2}),
    (RESNET, {**PLAIN, "antialias": True, "d_layers": 2, "resolution": 16}),
]


@pytest.mark.parametrize(("base", "changes"), CONFIGS, ids=name)
def test_layouts_are_right(base, changes):
    """Every leaf is named; with channels in another order and free scales multiplied, the function stays."""
    with jax.enable_x64(True):
        pair, variables = make_pair(0, base, **changes)
        train = pair.config.norm == "batch"
        x, _ = common_latents(pair.config, pair.config, jax.random.key(1), 2)
        images = jax.random.uniform(jax.random.key(2), (*x.shape[:3], 1), jnp.float64)
        for name, seen in (("g", x), ("d", shown(pair.config, x, images))):
            layout = layouts(pair.config)[name]
            leaves = {path: tuple(leaf.shape) for path, leaf in flatten(variables[name]).items()}
            assert set(layout.text) == set(leaves) and layout.sizes(leaves)
            apply = compiled(pair.config, name, train)
            same = permute(layout, variables[name], random_orders(layout, variables[name]))
            expected = apply(variables[name], seen)[0]
            np.testing.assert_allclose(apply(same, seen)[0], expected, rtol=1e-9, atol=1e-12)
            moved, _ = disguised(layout, variables[name])
            assert not all(
                np.array_equal(a, b) for a, b in zip(jax.tree.leaves(moved), jax.tree.leaves(variables[name]))
            )
            epsilon = 0.02 if pair.config.norm == "batch" else 1e-9  # batch norm forgets sizes but for its epsilon
            np.testing.assert_allclose(apply(moved, seen)[0], expected, atol=epsilon * np.abs(expected).max())
