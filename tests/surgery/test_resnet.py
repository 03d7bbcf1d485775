"""Growth keeps the function, of both networks, in evaluation and in training mode; broken recipes do not."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.surgery import Action, PlanError, make_plan, measure_pair, pair_rules, transplant
from gan_jax.surgery.ops.equalised import STRENGTH
from gan_jax.trees import Rule, flatten, specs
from tests.surgery.pairs import QUICK, compare, compiled, grow, latents, make_pair

WIDER, HIGHER, COLOUR = {"channel_max": 9}, {"resolution": 32}, {"channels": 3}
GROWTHS = {
    "wider": WIDER,
    "two blocks higher, more latents": {"resolution": 64, "z_dim": 11},
    "colour, wider by one": {"channel_max": 7, **COLOUR},
    "all": {**WIDER, **HIGHER, **COLOUR, "z_dim": 11},
}


@pytest.mark.parametrize(
    "growth", [growth if growth == "all" else pytest.param(growth, marks=pytest.mark.slow) for growth in GROWTHS]
)
def test_growth_preserves_both_networks(growth):
    with jax.enable_x64(True):
        old, old_variables = make_pair(0)
        new, fresh = make_pair(1, **GROWTHS[growth])
        grown = grow(old, old_variables, new, fresh)
        for train in (False, True):
            for name, difference in compare(old, old_variables, new, grown, train).items():
                assert difference.scale > 0.1, "the probes excite the net"
                assert difference.largest <= 1e-10, (name, train, str(difference))


@pytest.mark.slow
def test_growth_preserves_in_single_precision():
    old, old_variables = make_pair(0)
    new, fresh = make_pair(1, **GROWTHS["all"])
    measured = measure_pair(old, old_variables, new, grow(old, old_variables, new, fresh), jax.random.key(0))
    assert measured["g"].relative < 1e-5 and measured["d"].relative < 1e-5
    assert str(measured["d"]).startswith("preserved: largest difference ")
    strangers = compare(old, old_variables, new, fresh, train=False)
    assert min(strangers["g"].relative, strangers["d"].relative) > 0.05
    assert str(strangers["g"]).startswith("not preserved")


@pytest.mark.parametrize(
    ("pattern", "move", "broken"),
    [
        ("re:g/params/to_rgb/kernel", Action("fit"), "g"),  # new units are heard
        (
            "re:d/params/b16/conv0/kernel",
            Action("fit", args={"inputs": [2]}),
            "d",
        ),  # widened without its singular value
        ("re:d/params/from_rgb/kernel", Action("fit", args={"inputs": [2]}), "d"),
    ],
)
def test_a_broken_recipe_is_seen(pattern, move, broken):
    old, old_variables = make_pair(0)
    new, fresh = make_pair(1, **WIDER)
    grown = grow(old, old_variables, new, fresh, {"first": [Rule(pattern, move)]})
    for name, difference in compare(old, old_variables, new, grown, train=True).items():
        assert (difference.relative > 1e-3) == (name == broken), (name, str(difference))


def gradient(pair, variables, images):
    loss = lambda params: pair.d.apply({**variables["d"], "params": params}, images, train=True)[0].sum()
    return jax.jit(jax.value_and_grad(loss), compiler_options=QUICK)


def test_a_silent_block_of_zeros_would_not_train_and_the_ballast_does():
    """Under spectral norm, a zero kernel has a gradient of 1e12, and any later kernel has full strength."""
    old, old_variables = make_pair(0)
    new, fresh = make_pair(1, **HIGHER)
    grown = grow(old, old_variables, new, fresh)
    images = jax.random.uniform(jax.random.key(2), (4, 32, 32, 1), minval=-1.0)
    step = gradient(new, grown, images)
    value, gradients = step(grown["d"]["params"])
    assert 1e-3 < np.abs(gradients["b32"]["conv1"]["kernel"]).max() < 1e3
    zeroed = jax.tree.map(lambda x: x, grown["d"]["params"])
    zeroed["b32"]["conv1"]["kernel"] = 0 * zeroed["b32"]["conv1"]["kernel"]
    assert np.abs(step(zeroed)[1]["b32"]["conv1"]["kernel"]).max() > 1e6
    signs = lambda params, lr: jax.tree.map(lambda p, g: p + lr * jnp.sign(g), params, gradients)  # Adam's first step
    assert 0 < step(signs(grown["d"]["params"], 2e-4))[0] - value < 0.2 * np.abs(value)


def test_new_units_are_alive():
    old, old_variables = make_pair(0)
    new, fresh = make_pair(1, **WIDER)
    grown = grow(old, old_variables, new, fresh)
    images = jax.random.uniform(jax.random.key(0), (16, 16, 16, 1), minval=-1.0)
    _, gradients = gradient(new, grown, images)(grown["d"]["params"])
    assert (np.abs(gradients["head"]["kernel"][6:, 0]) > 1e-6).sum() >= 2, "the head starts to listen"
    kernel = np.asarray(grown["d"]["params"]["b16"]["conv0"]["kernel"]).reshape(-1, 9)
    top = np.linalg.svd(kernel, compute_uv=False)[0]
    np.testing.assert_allclose(np.linalg.svd(kernel[:, 6:], compute_uv=False)[0], STRENGTH * top, rtol=1e-4)
    np.testing.assert_allclose(np.linalg.svd(kernel[:, :6], compute_uv=False)[0], top, rtol=1e-5)
    images = compiled(new.config, "g", True)(grown["g"], latents(new, 6))[0]
    heard = compiled(new.config, "g", True)({**grown["g"], "params": listen(grown["g"]["params"])}, latents(new, 6))[0]
    assert np.abs(images - heard).max() > 1e-2, "G's new units say something once they are heard"


def listen(params):
    params = jax.tree.map(np.array, params)
    params["to_rgb"]["kernel"][:, :, 6:] = 0.1
    return params


def test_shrinking_says_what_it_drops():
    old, old_variables = make_pair(0, resolution=32)
    new, fresh = make_pair(1, channel_max=4)
    target, source = specs(fresh), specs(old_variables)
    with pytest.raises(
        PlanError, match=r"source leaf 'd/params/b32/conv0/bias' \[6\] is read by nothing.*unused='drop'"
    ):
        make_plan(target, source, pair_rules(new.config, old.config, target, source), shape="adapt")
    plan = make_plan(target, source, pair_rules(new.config, old.config, target, source), shape="adapt", unused="drop")
    assert all("/b32/" in path for path in plan.unused) and len(plan.unused) == 23
    shrunk, _ = transplant(plan, old_variables, fresh)
    np.testing.assert_array_equal(
        shrunk["g"]["params"]["b8"]["conv0"]["kernel"],
        old_variables["g"]["params"]["b8"]["conv0"]["kernel"][..., :4, :4],
    )
    for name, u in flatten(shrunk["d"]["spectral"]).items():
        kernel = flatten(shrunk["d"]["params"])[name.removesuffix("/u") + "/kernel"]
        matrix = np.asarray(kernel).reshape(-1, kernel.shape[-1])
        if name.split("/")[0] not in ("from_rgb", "head"):
            np.testing.assert_allclose(np.linalg.norm(matrix @ np.asarray(u)), np.linalg.norm(matrix, 2), rtol=1e-5)


def test_mixed_shapes_slice_then_widen():
    old, old_variables = make_pair(0, z_dim=12)
    new, fresh = make_pair(1, channel_max=9, z_dim=5)
    target, source = specs(fresh), specs(old_variables)
    plan = make_plan(target, source, pair_rules(new.config, old.config, target, source), shape="adapt")
    stem = next(entry for entry in plan.entries if entry.target == "g/params/stem/kernel")
    assert stem.op == "slice+widen" and stem.values == {"copied": 5 * 16 * 6, "adapted": 0, "fresh": 5 * 16 * 3}
    grown, _ = transplant(plan, old_variables, fresh)
    view = lambda tree, z, c: np.asarray(tree["g"]["params"]["stem"]["kernel"]).reshape(z, 4, 4, c)
    np.testing.assert_array_equal(view(grown, 5, 9)[..., :6], view(old_variables, 12, 6)[:5])
    np.testing.assert_array_equal(view(grown, 5, 9)[..., 6:], view(fresh, 5, 9)[..., 6:])


def test_unconditional_to_conditional_keeps_both_and_the_projection_learns():
    with jax.enable_x64(True):
        old, old_variables = make_pair(0)
        new, fresh = make_pair(1, num_classes=3, **WIDER)
        grown = grow(old, old_variables, new, fresh)
        for name, difference in compare(old, old_variables, new, grown, False).items():
            assert difference.largest <= 1e-10, (name, str(difference))
        for path in ("params/embed/embedding", "spectral/embed/u"):
            np.testing.assert_array_equal(flatten(grown["d"])[path], flatten(fresh["d"])[path])
        images = jax.random.uniform(jax.random.key(2), (3, 16, 16, 1), jnp.float64, minval=-1.0)
        judge = lambda params: new.d.apply({**grown["d"], "params": params}, images, jnp.arange(3), train=True)[0][0]
        slopes = jax.jit(jax.grad(judge), compiler_options=QUICK)(grown["d"]["params"])["embed"]
        assert np.abs(slopes["gain"]) > 1e-2 and not np.any(slopes["embedding"]), "first the gain, then the table"


@pytest.mark.slow  # deeper and wider ones are asked in float64: `test_growth`
def test_conditional_pairs_grow_exactly_too():
    old, old_variables = make_pair(0, num_classes=3)
    new, fresh = make_pair(1, num_classes=3, **GROWTHS["all"])
    grown = grow(old, old_variables, new, fresh)
    for difference in compare(old, old_variables, new, grown, train=True).values():
        assert difference.relative < 1e-5


def test_classes_are_chosen_by_name_or_refused():
    old, old_variables = make_pair(0, num_classes=4)
    new, fresh = make_pair(1, num_classes=3)
    with pytest.raises(PlanError, match="4 source classes, 3 target classes: say which"):
        grow(old, old_variables, new, fresh)
    with pytest.raises(PlanError, match="names 2 source classes for 3 target classes"):
        grow(old, old_variables, new, fresh, {"classes": (0, 1)})
    with pytest.raises(PlanError, match="index 4 lies outside axis 0"):
        grow(old, old_variables, new, fresh, {"classes": (0, 1, 4)})
    grown = grow(old, old_variables, new, fresh, {"classes": (2, 0, -1)})
    table = np.asarray(old_variables["d"]["params"]["embed"]["embedding"])
    np.testing.assert_allclose(
        grown["d"]["params"]["embed"]["embedding"], np.stack([table[2], table[0], table.mean(0)]), rtol=1e-6
    )
    scale = np.asarray(old_variables["g"]["params"]["b8"]["norm0"]["scale"])
    np.testing.assert_allclose(grown["g"]["params"]["b8"]["norm0"]["scale"][2], scale.mean(0), rtol=1e-6)
    new, fresh = make_pair(1)
    grown = grow(old, old_variables, new, fresh, unused="drop")
    np.testing.assert_allclose(grown["g"]["params"]["b8"]["norm0"]["scale"], scale.mean(0), rtol=1e-6)


@pytest.mark.parametrize(
    ("old_channels", "channels", "exact"),
    [
        pytest.param(1, 3, "gd", marks=pytest.mark.slow),
        (3, 1, "g"),
        pytest.param(1, 4, "d", marks=pytest.mark.slow),
        pytest.param(3, 4, "d", marks=pytest.mark.slow),
        pytest.param(4, 3, "", marks=pytest.mark.slow),
    ],
)
def test_colour_heads(old_channels, channels, exact):
    """Grey from colour is exact in G where the colours agree; alpha starts at 0.9993; the rest as said in the table."""
    old, old_variables = make_pair(0, channels=old_channels)
    if (old_channels, channels) == (3, 1):  # a net that makes grey images
        for leaf in ("kernel", "bias"):
            value = old_variables["g"]["params"]["to_rgb"][leaf]
            old_variables["g"]["params"]["to_rgb"][leaf] = jnp.repeat(value[..., :1], 3, axis=-1)
    new, fresh = make_pair(1, channels=channels, channel_max=8)
    grown = grow(old, old_variables, new, fresh)
    measured = compare(old, old_variables, new, grown, train=False)
    for name in exact:
        assert measured[name].relative < 1e-5, name
    if channels == 4:
        np.testing.assert_allclose(measured["g"].largest, 1 - np.tanh(4.0), rtol=1e-3)
    if old_channels == 4:
        images = lambda pair, variables: compiled(pair.config, "g", False)(variables["g"], latents(old, 6))[0]
        np.testing.assert_allclose(images(new, grown), images(old, old_variables)[..., :3], atol=1e-6)


def test_colour_discriminator_sees_colour_at_once():
    old, old_variables = make_pair(0)
    new, fresh = make_pair(1, **COLOUR)  # no new channels: chroma goes through the old ones
    grown = grow(old, old_variables, new, fresh)
    images = jax.random.uniform(jax.random.key(3), (4, 16, 16, 3), minval=-1.0)
    grey = jnp.broadcast_to(images.mean(-1, keepdims=True), images.shape)
    judge = lambda x: compiled(new.config, "d", False)(grown["d"], x)[0]
    assert np.abs(judge(images) - judge(grey)).max() > 1e-2
    new, fresh = make_pair(1, channel_max=9, **COLOUR)  # new channels take the chroma: the old judgement is of the mean
    grown = grow(old, old_variables, new, fresh)
    judge = lambda x: compiled(new.config, "d", False)(grown["d"], x)[0]
    np.testing.assert_allclose(judge(images), judge(grey), atol=1e-5)


def test_roots_choose_which_copy_starts_which():
    old, variables = make_pair(0)
    source = {"g_ema": jax.tree.map(lambda x: x + 1, variables["g"]), "d": variables["d"]}
    new, fresh = make_pair(1)
    grown = grow(old, source, new, fresh)
    np.testing.assert_array_equal(grown["g"]["params"]["stem"]["bias"], source["g_ema"]["params"]["stem"]["bias"])
    both = {**source, "g": variables["g"]}
    with pytest.raises(PlanError, match="source leaf 'g/batch_stats.*is read by nothing"):
        grow(old, both, new, fresh, {"roots": {"g": "g_ema"}})
    grown = grow(old, both, new, fresh, {"roots": {"g": "g_ema"}}, unused="drop")
    np.testing.assert_array_equal(grown["g"]["params"]["stem"]["bias"], source["g_ema"]["params"]["stem"]["bias"])
    with pytest.raises(PlanError, match="'g' should come from 'gema', but the source has d, g, g_ema"):
        pair_rules(new.config, old.config, fresh, both, roots={"g": "gema"})
    with pytest.raises(PlanError, match="no roles for 'h'"):
        pair_rules(new.config, old.config, {"h": fresh["g"]}, both)
