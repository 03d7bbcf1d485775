"""BigGAN grows without being heard, although everything is divided by its largest singular value."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.nets.biggan import modulation
from gan_jax.surgery import Move
from gan_jax.surgery.align import match_weights
from gan_jax.surgery.families import layouts
from gan_jax.trees import Rule, flatten
from tests.surgery.align.copies import disguised
from tests.surgery.pairs import QUICK, SMALL_BIGGAN, compare, compiled, grow, latents, make_pair, shapes
from tests.surgery.test_growth import exact

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


@pytest.mark.parametrize("name", VARIANTS)
def test_every_leaf_is_named_and_groups_agree(name):
    config = dataclasses.replace(SMALL_BIGGAN, **VARIANTS[name])
    for net, layout in layouts(config).items():
        found = {path: tuple(leaf.shape) for path, leaf in flatten(shapes(config)[net]).items()}
        assert set(layout.text) == set(found)
        assert layout.sizes(found)
        kernels = {path for path in found if path.endswith("kernel")}
        assert set(layout.spectral) == (kernels if net == "d" or config.g_spectral else set())


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
        exact(old, old_variables, new, grown)
        back = grow(new, grown, old, make_pair(2, SMALL_BIGGAN, **VARIANTS[name])[1])
        exact(old, old_variables, old, back)


def test_a_broken_recipe_is_seen():
    """New outputs that are not orthogonal, new keys that both sides make, a norm that does not make up for the colours."""
    old, old_variables = make_pair(0, SMALL_BIGGAN)
    new, fresh = make_pair(1, SMALL_BIGGAN, **WIDER, channels=3)
    plain = Move("fit", args={"inputs": [2]})
    for pattern, move, broken in (
        ("g/params/b16/skip/kernel", plain, "g"),
        ("d/params/b8/conv1/kernel", plain, "d"),
        ("g/params/stem/kernel", Move("fit", args={"inputs": [0], "view": [[3, 16, 6], [3, 16, 8]]}), "g"),
        ("re:g/params/to_rgb_norm/(scale|bias)", Move("fit"), "g"),
        ("d/params/b16/conv0/kernel", Move("fit", args={"inputs": [2], "colour": ("in", 2)}), "d"),
    ):
        grown = grow(old, old_variables, new, fresh, {"first": [Rule(pattern, move)]})
        for name, difference in compare(old, old_variables, new, grown, True).items():
            assert (difference.relative > 1e-4) == (name == broken), (pattern, name, str(difference))


def heard(config: Any, was: Any, n: int) -> tuple[jax.Array, jax.Array]:
    """Latents of both generators, the shared ones alike: each part's begin in both, and what they have more at random."""
    z, old = (jax.random.normal(jax.random.key(i), (n, c.z_dim), jnp.float64) for i, c in enumerate((config, was)))
    sizes = [modulation(c)[1] or c.z_dim for c in (config, was)]
    for i in range(min(c.z_dim // size for c, size in zip((config, was), sizes))):
        kept = min(sizes)
        old = old.at[:, i * sizes[1] : i * sizes[1] + kept].set(z[:, i * sizes[0] : i * sizes[0] + kept])
    return z, old


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"z_dim": 15, "attention": (8, 16), **WIDER}),
        ({"hierarchical": False, **CONDITIONAL}, {"z_dim": 27, "shared_dim": 6, **CONDITIONAL}),
        ({}, {"num_classes": 3, "z_dim": 12, "d_gain": True}),
    ],
    ids=["larger parts, attention, wider", "parts where there were none", "classes beside parts"],
)
def test_what_norms_read_grows(before, after):
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, SMALL_BIGGAN, **before)
        new, fresh = make_pair(1, SMALL_BIGGAN, **after)
        grown = grow(old, old_variables, new, fresh)
        z, old_z = heard(new.config, old.config, 6)
        for train in (False, True):
            wanted = compiled(old.config, "g", train)(old_variables["g"], old_z)[0]
            made = compiled(new.config, "g", train)(grown["g"], z)[0]
            np.testing.assert_allclose(made, wanted, atol=1e-10)
            exact(old, old_variables, new, grown, (train,), "d")
        assert np.abs(compiled(new.config, "g", True)(fresh["g"], z)[0] - wanted).max() > 1e-2
        back = grow(new, grown, old, make_pair(2, SMALL_BIGGAN, **before)[1], unused="drop")
        exact(old, old_variables, old, back, (True,))


def test_classes_are_chosen_with_their_strength():
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, SMALL_BIGGAN, **{**CONDITIONAL, "d_gain": False})
        chosen = (2, 0, 2, 1)
        noise = jax.random.uniform(jax.random.key(1), (4, 16, 16, 1), jnp.float64, minval=-1.0)
        judged = lambda pair, variables, y, net, x: jax.jit(
            lambda v: getattr(pair, net).apply(v, x, y)[0], compiler_options=QUICK
        )(variables[net])
        for more in (CONDITIONAL, {"num_classes": 3}):  # with a gain where there was none; and an order of the old ones
            classes = chosen if more is CONDITIONAL else (2, 0, 1)
            new, fresh = make_pair(1, SMALL_BIGGAN, **{**more, "num_classes": len(classes)})
            grown = grow(old, old_variables, new, fresh, {"classes": classes})
            for net, x in (("g", latents(old, 4)), ("d", noise)):
                labels = jnp.arange(4) % len(classes)
                wanted = judged(old, old_variables, jnp.array(classes)[labels], net, x)
                np.testing.assert_allclose(judged(new, grown, labels, net, x), wanted, atol=1e-10, err_msg=net)
        again, fresh = make_pair(2, SMALL_BIGGAN, **{**CONDITIONAL, "num_classes": 2})
        merged = grow(new, grown, again, fresh, {"classes": (1, [0, 2])})
        row = grown["g"]["params"]["shared"]["embedding"]
        np.testing.assert_allclose(merged["g"]["params"]["shared"]["embedding"][1], (row[0] + row[2]) / 2)
