"""BigGAN grows without being heard, although everything is divided by its largest singular value."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.surgery import Action
from gan_jax.surgery.align import match_weights
from gan_jax.surgery.families import layouts
from gan_jax.trees import Rule
from tests.surgery.align.copies import disguised
from tests.surgery.pairs import QUICK, SMALL_BIGGAN, compare, compiled, grow, latents, make_pair, pair_of
from tests.surgery.test_growth import assert_found_again, exact

WIDER: dict[str, Any] = {"g_multipliers": (4, 4, 3), "d_multipliers": (3, 4, 5)}
CONDITIONAL: dict[str, Any] = {"num_classes": 3, "d_gain": True}
VARIANTS = {
    "latents": {},
    "classes and latents": CONDITIONAL,
    "classes": {**CONDITIONAL, "hierarchical": False},
    "tables": {**CONDITIONAL, "hierarchical": False, "shared_dim": 0, "attention": ()},
    "plain": {"hierarchical": False, "attention": (), "g_spectral": False},
    "more blocks of D": {"resolution": 32, "z_dim": 12, "g_multipliers": (2, 2, 2, 2), "d_multipliers": (2, 3, 3, 3)},
}


@pytest.mark.parametrize("name", ["classes and latents", pytest.param("classes", marks=pytest.mark.slow)])
def test_a_permuted_copy_computes_the_same_and_is_recovered(name):
    with jax.enable_x64(True):
        pair, variables = make_pair(0, SMALL_BIGGAN, **VARIANTS[name])
        noise = jax.random.uniform(jax.random.key(1), (4, 16, 16, 1), jnp.float64, minval=-1.0)
        for net, x in (("g", latents(pair, 4)), ("d", noise)):
            layout, apply = layouts(pair.config)[net], compiled(pair.config, net, True)
            copy, orders = disguised(layout, variables[net])
            np.testing.assert_allclose(apply(copy, x)[0], apply(variables[net], x)[0], atol=1e-10)
            found = match_weights(layout, variables[net], copy)
            assert found.after == pytest.approx(1) and found.before < 0.9
            for group, order in found.orders.items():
                np.testing.assert_array_equal(np.asarray(order)[orders[group]], np.arange(len(order)), err_msg=group)


@pytest.mark.parametrize("name", ["latents", pytest.param("tables", marks=pytest.mark.slow)])
def test_wider_and_in_colour_is_exact_and_so_is_the_way_back(name):
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, SMALL_BIGGAN, **VARIANTS[name])
        new, fresh = make_pair(1, SMALL_BIGGAN, **VARIANTS[name], **WIDER, channels=3)
        grown = grow(old, old_variables, new, fresh)
        exact(old, old_variables, new, grown, (False, True) if name == "tables" else (False,), "g")
        exact(old, old_variables, new, grown, (False,), "d")  # in training it computes the same
        back = grow(new, grown, old, make_pair(2, SMALL_BIGGAN, **VARIANTS[name])[1])
        exact(old, old_variables, old, back, (False,))


def test_a_broken_recipe_is_seen():
    """New outputs that are not orthogonal, new keys that both sides make, a norm that does not make up for the colours."""
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, SMALL_BIGGAN)
        new, fresh = make_pair(1, SMALL_BIGGAN, **WIDER, channels=3)
        plain = Action("fit", args={"inputs": [2]})
        for pattern, move, broken in (
            ("g/params/b16/skip/kernel", plain, "g"),
            ("d/params/b8/conv1/kernel", plain, "d"),
            ("g/params/stem/kernel", Action("fit", args={"inputs": [0], "view": [[3, 16, 6], [3, 16, 8]]}), "g"),
            ("re:g/params/to_rgb_norm/(scale|bias)", Action("fit"), "g"),
            ("d/params/b16/conv0/kernel", Action("fit", args={"inputs": [2], "colour": ("in", 2)}), "d"),
        ):
            grown = grow(old, old_variables, new, fresh, {"first": [Rule(pattern, move)]})
            for name, difference in compare(old, old_variables, new, grown, False).items():
                assert (difference.relative > 1e-6) == (name == broken), (pattern, name, str(difference))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param({}, {"z_dim": 15, "attention": (8, 16), **WIDER}, marks=pytest.mark.slow),
        pytest.param(
            {"hierarchical": False, **CONDITIONAL},
            {"z_dim": 27, "shared_dim": 6, **CONDITIONAL},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"hierarchical": False, "shared_dim": 0},
            {"hierarchical": False, "shared_dim": 0, **CONDITIONAL},
            marks=pytest.mark.slow,
        ),
        ({}, {"num_classes": 3, "z_dim": 12, "d_gain": True, "d_multipliers": (2, 3, 4, 4)}),
    ],
    ids=[
        "larger parts, attention, wider",
        "parts where there were none",
        "tables",
        "classes beside parts, one more block of D",
    ],
)
def test_what_norms_read_grows(before, after):
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, SMALL_BIGGAN, **before)
        new, fresh = make_pair(1, SMALL_BIGGAN, **after)
        grown = grow(old, old_variables, new, fresh)
        exact(old, old_variables, new, grown, (False,))
        assert compare(old, old_variables, new, fresh, False, "g")["g"].largest > 1e-2
        back = grow(new, grown, old, make_pair(2, SMALL_BIGGAN, **before)[1], unused="drop")
        exact(old, old_variables, old, back, (False,))


@functools.cache
def judged(config: Any, net: str) -> Any:
    apply = getattr(pair_of(config), net).apply
    return jax.jit(lambda v, x, labels: apply(v, x, labels)[0], compiler_options=QUICK)


@pytest.mark.slow  # classes are chosen in `test_growth_classes`
@pytest.mark.parametrize("more", [CONDITIONAL, {"num_classes": 3}], ids=str)
def test_classes_are_chosen_with_their_strength(more):
    """With a gain where there was none, and in an order of the old ones."""
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, SMALL_BIGGAN, **{**CONDITIONAL, "d_gain": False})
        chosen = (2, 0, 2, 1)
        noise = jax.random.uniform(jax.random.key(1), (4, 16, 16, 1), jnp.float64, minval=-1.0)
        classes = chosen if more is CONDITIONAL else (2, 0, 1)
        new, fresh = make_pair(1, SMALL_BIGGAN, **{**more, "num_classes": len(classes)})
        grown = grow(old, old_variables, new, fresh, {"classes": classes})
        for net, x in (("g", latents(old, 4)), ("d", noise)):
            labels = jnp.arange(4) % len(classes)
            wanted = judged(old.config, net)(old_variables[net], x, jnp.array(classes)[labels])
            made = judged(new.config, net)(grown[net], x, labels)
            np.testing.assert_allclose(made, wanted, atol=1e-10, err_msg=net)
        again, fresh = make_pair(2, SMALL_BIGGAN, **{**CONDITIONAL, "num_classes": 2})
        merged = grow(new, grown, again, fresh, {"classes": (1, [0, 2])})
        row = grown["g"]["params"]["shared"]["embedding"]
        np.testing.assert_allclose(merged["g"]["params"]["shared"]["embedding"][1], (row[0] + row[2]) / 2)


HIGHER: dict[str, Any] = {
    **{"resolution": 32, "z_dim": 12, "d_size": 4, "attention": (8, 16)},
    **{"g_multipliers": (3, 3, 2, 2), "d_multipliers": (1, 2, 3, 4)},
}


def centred(variables: dict, *names: str) -> dict:
    """With kernels that read their own pixel only: for these doubled maps and another padding are all the same."""
    for name in names:
        net, *module = name.split("/")
        leaf = variables[net]["params"]
        for part in module:
            leaf = leaf[part]
        kernel = np.zeros_like(leaf["kernel"])
        kernel[1, 1] = leaf["kernel"][1, 1]
        leaf["kernel"] = kernel
    return variables


def test_a_new_block_passes_on_what_it_gets_and_so_does_its_absence():
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, SMALL_BIGGAN)
        new, fresh = make_pair(1, SMALL_BIGGAN, **HIGHER)
        grown = grow(old, old_variables, new, fresh)
        measured = compare(old, old_variables, new, grown, False)
        strangers = compare(old, old_variables, new, fresh, False)
        assert 1e-4 < measured["d"].relative < 0.05, "the ring at the border"
        assert 1e-4 < measured["g"].relative < 0.8 * strangers["g"].relative, "a 3x3 to_rgb"
        back = grow(new, grown, old, make_pair(2, SMALL_BIGGAN)[1], unused="drop")
        exact(old, old_variables, old, back, (False,))
        old_variables = centred(old_variables, "d/b16/conv0", "g/to_rgb")
        exact(old, old_variables, new, grow(old, old_variables, new, fresh), (False,))


@pytest.mark.slow
def test_colour_and_size_at_once():
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, SMALL_BIGGAN)
        old_variables = centred(old_variables, "d/b16/conv0", "g/to_rgb")
        new, fresh = make_pair(1, SMALL_BIGGAN, **{**HIGHER, "d_multipliers": (2, 2, 3, 4)}, channels=3)
        exact(old, old_variables, new, grow(old, old_variables, new, fresh))


@pytest.mark.slow  # copies and silent blocks are those of ResNet, of which the same is asked
def test_without_spectral_norm_in_g_copies_keep_it_and_blocks_are_silent():
    plain = {"hierarchical": False, "g_spectral": False}
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, SMALL_BIGGAN, **plain)
        old_variables = centred(old_variables, "g/to_rgb")
        new, fresh = make_pair(1, SMALL_BIGGAN, **{**HIGHER, "g_multipliers": (4, 4, 3, 3), **plain})
        grown = grow(old, old_variables, new, fresh, {"width": {"g": "net2wider"}})
        exact(old, old_variables, new, grown, nets="g")


def test_the_most_important_channels_are_the_old_ones():
    assert_found_again(SMALL_BIGGAN, **WIDER)


@pytest.mark.slow
def test_new_attention_learns():
    """Behind its factor of 0 it adds nothing, and the factor has a gradient at once."""
    old, old_variables = make_pair(0, SMALL_BIGGAN, attention=())
    new, fresh = make_pair(1, SMALL_BIGGAN)
    grown = grow(old, old_variables, new, fresh)
    images = jax.random.uniform(jax.random.key(2), (2, 16, 16, 1), minval=-1.0)
    judge = lambda params: new.d.apply({**grown["d"], "params": params}, images, train=True)[0].sum()
    slopes = jax.jit(jax.grad(judge), compiler_options=QUICK)(grown["d"]["params"])["b16"]["attention"]
    assert not np.any(grown["d"]["params"]["b16"]["attention"]["gamma"]) and np.abs(slopes["gamma"]) > 1e-4
    assert not np.any(slopes["theta"]["kernel"])
