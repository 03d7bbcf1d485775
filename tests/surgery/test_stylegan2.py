"""StyleGAN2 grows without being heard; its layout is right: permuted and rescaled, the functions stay."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.nets.resample import downsample
from gan_jax.surgery import Action, PlanError, make_plan, pair_rules
from gan_jax.surgery.align import match_weights
from gan_jax.surgery.families import layouts
from gan_jax.surgery.families.layout import Layout
from gan_jax.surgery.families.notes import plan_notes
from gan_jax.surgery.ops.basic import OpError
from gan_jax.surgery.ops.equalised import equalise_shape, parts, parts_shape
from gan_jax.trees import Rule
from tests.surgery.align.copies import disguised
from tests.surgery.pairs import QUICK, SMALL_STYLEGAN2, compare, compiled, grow, latents, make_pair, shapes
from tests.surgery.test_growth import assert_found_again, exact

ALONE = dataclasses.replace(SMALL_STYLEGAN2, mbstd_group=0)  # whose examples do not see each other
LARGER: dict[str, Any] = {"channel_max": 9, "w_dim": 7, "resolution": 32, "channels": 3}
TORN = {"g": "synthesis/b8/conv1/affine/bias", "d": "b16/conv0/bias"}  # as if they were of channels of their own
GROUPS = {"g": {"styles", "b4/const", "b8/conv0", "mapping/fc0"}, "d": {"fc", "b16", "b8/conv0"}}
noise = lambda size, n=6: jax.random.uniform(jax.random.key(1), (n, size, size, 1), jnp.float64, minval=-1.0)


@pytest.mark.parametrize("classes", [pytest.param(0, marks=pytest.mark.slow), 3])
def test_permuted_and_rescaled_the_function_stays(classes):
    with jax.enable_x64(True):
        pair, variables = make_pair(0, SMALL_STYLEGAN2, num_classes=classes)
        for name, x in (("g", latents(pair, 6)), ("d", noise(16))):
            layout, apply = layouts(pair.config)[name], compiled(pair.config, name, False)
            copy, orders = disguised(layout, variables[name])
            wanted = apply(variables[name], x)[0]
            np.testing.assert_allclose(apply(copy, x)[0], wanted, atol=1e-6)  # the demodulation's 1e-8 has a scale
            group = {"g": "b8/conv0", "d": "b8/conv0"}[name]
            assert (
                {"styles", "b4/const", group} <= orders.keys() if name == "g" else {"fc", "b16", group} <= orders.keys()
            )
            found = match_weights(layout, variables[name], copy)
            assert found.after > 0.999 > found.before
            torn = Layout({**layout.text, f"params/{TORN[name]}": "-> alone"}, layout.free)
            assert np.abs(apply(disguised(torn, variables[name])[0], x)[0] - wanted).max() > 1e-3


def test_wider_larger_and_in_colour_at_once_and_the_way_back():
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, ALONE)
        new, fresh = make_pair(1, ALONE, **LARGER)
        grown = grow(old, old_variables, new, fresh)
        exact(old, old_variables, new, grown, (False,))
        exact(
            old, old_variables, new, grow(old, old_variables, new, fresh, {"width": {"d": "net2wider"}}), (False,), "d"
        )
        for leaf in ("g/params/synthesis/b8/to_rgb/kernel", "d/params/b8/conv0/kernel"):
            raw = Action("fit", args={"inputs": [2], "colour": ("out", 3)} if leaf[0] == "g" else {"inputs": [2]})
            broken = grow(old, old_variables, new, fresh, {"first": [Rule(leaf, raw)]})
            assert compare(old, old_variables, new, broken, False, leaf[0])[leaf[0]].largest > 1e-2, "without its gain"
        back = grow(new, grown, old, make_pair(2, ALONE)[1], unused="drop")
        exact(old, old_variables, old, back, (False,))


def test_the_most_important_channels_are_the_old_ones():
    assert_found_again(ALONE, channel_max=9, w_dim=7)


def judged(pair, variables, net: str, x: jax.Array, labels: jax.Array) -> jax.Array:
    return jax.jit(lambda v: getattr(pair, net).apply(v, x, labels)[0], compiler_options=QUICK)(variables[net])


def test_labels_are_not_heard_at_first_and_classes_are_chosen():
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, SMALL_STYLEGAN2)
        middle, fresh = make_pair(1, SMALL_STYLEGAN2, num_classes=3)
        exact(old, old_variables, middle, grow(old, old_variables, middle, fresh), (False,))
        chosen = (2, 0, 2, 1)
        new, more = make_pair(2, SMALL_STYLEGAN2, num_classes=4, channel_max=9, w_dim=7)
        grown = grow(middle, fresh, new, more, {"classes": chosen})
        labels, worst = jnp.array([0, 1, 2, 3, 0, 1]), {}
        for net, x in (("g", latents(old, 6)), ("d", noise(16))):
            before = judged(middle, fresh, net, x, jnp.array(chosen)[labels])
            after = judged(new, grown, net, x, labels)
            worst[net] = float(np.abs(before - after).max() / np.abs(before).max())
        assert worst["g"] < 1e-6, "the 1e-8 in the norm of the embedded label"
        assert 1e-8 < worst["d"] < 1e-4, "silent channels count 1e-4 in the minibatch deviation"


def grown_discriminators(form: str) -> None:
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, ALONE, discriminator=form)
        new, fresh = make_pair(1, ALONE, discriminator=form, resolution=32)
        grown, images = grow(old, old_variables, new, fresh)["d"], noise(32)
        wanted = compiled(old.config, "d", False)(old_variables["d"], downsample(images))[0]
        np.testing.assert_allclose(compiled(new.config, "d", False)(grown, images)[0], wanted, atol=1e-10)
        assert np.abs(compiled(new.config, "d", False)(fresh["d"], images)[0] - wanted).max() > 1e-2


def test_a_discriminator_of_the_skip_form_grows():
    grown_discriminators("skip")


@pytest.mark.slow
def test_a_plain_discriminator_grows():
    grown_discriminators("orig")


def plan_of(before: dict[str, Any], after: dict[str, Any], options: dict[str, Any] | None = None, **policies):
    was, config = (dataclasses.replace(SMALL_STYLEGAN2, **changes) for changes in (before, after))
    target, source = shapes(config), shapes(was)
    return make_plan(
        target, source, pair_rules(config, was, target, source, **(options or {})), **{"shape": "adapt", **policies}
    )


@pytest.mark.parametrize(
    ("before", "after", "g", "d"),
    [
        ({}, {"resolution": 32, "num_classes": 2}, "function preserved", "function preserved"),
        ({}, {"w_dim": 7, "channel_max": 8}, "function preserved", "function preserved, but for the 1e-4 of silent"),
        ({}, {"z_dim": 9}, "not preserved: latents normalised together with the new", "function preserved"),
        ({}, {"mapping_layers": 3}, "not preserved: fresh values (g/params/mapping/fc2/bias", "function preserved"),
        (
            {"num_classes": 2},
            {},
            "not preserved: channels or latents dropped",
            "not preserved: fresh values (d/params/b4/",
        ),
        ({}, {"resolution": 32, "channels": 4}, "function preserved", "not preserved: fresh values (d/params/b32/"),
        ({"resolution": 32}, {}, "not preserved: source leaves dropped, exact", "not preserved: layers folded into a"),
        ({}, {"channel_max": 4}, "not preserved: channels or latents dropped", "not preserved: channels or latents"),
    ],
    ids=lambda x: str(x)[:40],
)
def test_notes(before, after, g, d):
    notes = {note[0]: note[3:] for note in plan_notes(plan_of(before, after, unused="drop"))}
    assert notes["g"].startswith(g) and notes["d"].startswith(d), notes
    assert "not" in g or notes["g"] == g


def test_copies_are_refused_where_they_would_be_heard():
    with pytest.raises(PlanError, match="copies change the demodulation; use width='silent' for 'g'"):
        plan_of({}, {"channel_max": 9}, {"width": "net2wider"})
    with pytest.raises(PlanError, match="multiplied, or they are normalised together; use width='silent' for 'd'"):
        plan_of({"num_classes": 2}, {"num_classes": 2, "channel_max": 9}, {"width": {"d": "net2wider"}})


def test_alpha_is_opaque_once():
    """The image is the sum over sizes."""
    plan = plan_of({"channels": 3}, {"channels": 4})
    offsets = {e.target: e.args["offset"][3] for e in plan.entries if e.target.endswith("to_rgb/bias")}
    assert sorted(offsets.values()) == [0, 0, 1]


def test_parts_of_an_axis():
    x, fresh = np.arange(6.0).reshape(3, 2), np.full((5, 3), 9.0)
    args = {"shape": [5, 3], "axis": 0, "old": [2, 1], "new": [3, 2], "factors": [1, 10], "loud": [False, True]}
    np.testing.assert_array_equal(parts([x], fresh, args), [[0, 1, 9], [2, 3, 9], [0, 0, 9], [40, 50, 9], [9, 9, 9]])
    with pytest.raises(OpError, match=r"parts \[2, 2\] -> \[3, 2\] are not axis 0 of \[3, 2\]"):
        parts_shape([(3, 2)], {**args, "old": [2, 2]})
    with pytest.raises(OpError, match="parts needs old, new, factors and loud for each part"):
        parts_shape([(3, 2)], {**args, "loud": [True]})
    with pytest.raises(OpError, match="fan-ins are above 0, not 0 and 4"):
        equalise_shape([(3, 2)], {"old": 0, "new": 4})
